//! Whether a row is as it was sealed: its MAC, and the columns that it is found by.

use keyreeve_model::backup::{BackupCut, BackupKeyRecord, BackupRecord, Restored};
use keyreeve_model::change::{KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::device::DeviceWork;
use keyreeve_model::emergency::Emergency;
use keyreeve_model::filed::{FiledRecord, open_filed};
use keyreeve_model::grant::GrantRecord;
use keyreeve_model::hold::Hold;
use keyreeve_model::holders::SharesRecord;
use keyreeve_model::imports::{ImportRecord, KnownMaterial, MaterialEnd};
use keyreeve_model::incident::Incident;
use keyreeve_model::job::Job;
use keyreeve_model::quarantine::{Quarantine, Why};
use keyreeve_model::record::{BadRecord, RecordSealer, Table, open};
use keyreeve_model::review::{Campaign, ReviewItem};
use keyreeve_model::rules::RuleBook;
use keyreeve_model::usage::LastUse;
use keyreeve_model::{
    DeploymentRecord, DestructionRecord, DestructionRow, FiledRow, KeyRecord, KeyringRecord, Notice, PolicyRecord,
    PrincipalRecord, SealedRecord, StoredRow, TokenRecord, anchor, approval, drill, escrow, login, mfa, policy_version,
};
use serde::de::DeserializeOwned;

use crate::commit::without_mac;

/// Whether a row is as it was sealed for its place. Material has no MAC: the key that it is under tells.
pub(crate) fn check_row(sealer: &dyn RecordSealer, row: &StoredRow) -> Result<(), BadRecord> {
    let check = |table: Table, id: &[u8], record: &SealedRecord| {
        if sealer.check(table, id, record) { Ok(()) } else { Err(BadRecord::Tampered { table: table.name() }) }
    };
    match row {
        StoredRow::Deployment(record) => {
            let unreadable = |_| BadRecord::Unreadable { table: Table::Deployment.name() };
            let deployment: DeploymentRecord = serde_json::from_slice(&record.bytes).map_err(unreadable)?;
            check(Table::Deployment, deployment.id.as_bytes(), record)
        }
        StoredRow::Keyring(row) => check(Table::Keyrings, row.id.as_bytes(), &row.record),
        StoredRow::Destruction(row) => check(Table::Destructions, row.key.as_bytes(), &row.record),
        StoredRow::Key(row) => check(Table::Keys, row.id.as_bytes(), &row.record),
        StoredRow::Material(_) => Ok(()),
        StoredRow::Token(row) => check(Table::Tokens, row.id.as_bytes(), &row.record),
        StoredRow::Principal(row) => check(Table::Principals, row.name.as_str().as_bytes(), &row.record),
        StoredRow::Policy(row) => check(Table::Policies, row.name.as_str().as_bytes(), &row.record),
        StoredRow::Filed(row) => check(row.table, row.id.as_bytes(), &row.record),
        StoredRow::Answer(row) => {
            without_mac(sealer, Table::Idempotency, &[row.key, row.request].concat(), &row.reply).map(drop)
        }
        StoredRow::Outbox(row) => without_mac(sealer, Table::Outbox, row.id.as_bytes(), &row.bytes).map(drop),
    }
}

fn why(bad: &BadRecord) -> Why {
    match bad {
        BadRecord::Tampered { .. } => Why::Altered,
        BadRecord::Unreadable { .. } => Why::Unreadable,
    }
}

/// A row that opens, or what is wrong with it.
fn opened<T: DeserializeOwned>(
    sealer: &dyn RecordSealer,
    (table, row): (Table, &[u8]),
    record: &SealedRecord,
) -> Result<T, Why> {
    open(sealer, table, row, record).map_err(|bad| why(&bad))
}

/// What a record says of itself must be what it is found by. In doubt about which thing a row is, it is altered; where
/// only searching is wrong, the columns are.
fn found_by(itself: bool, columns: bool) -> Result<(), Why> {
    match (itself, columns) {
        (false, _) => Err(Why::Altered),
        (true, false) => Err(Why::Columns),
        (true, true) => Ok(()),
    }
}

/// Whether a keyring's row is sound.
pub(crate) fn keyring(sealer: &dyn RecordSealer, row: &KeyringRow) -> Result<(), Why> {
    let record: KeyringRecord = opened(sealer, (Table::Keyrings, row.id.as_bytes()), &row.record)?;
    found_by(record.id == row.id && record.name == row.name, true)
}

/// Whether a key's row is sound. The column for its state is of the moment when it was written, and is not looked at.
pub(crate) fn key(sealer: &dyn RecordSealer, row: &KeyRow) -> Result<(), Why> {
    let record: KeyRecord = opened(sealer, (Table::Keys, row.id.as_bytes()), &row.record)?;
    let aliases: Vec<_> = record.metadata.aliases.iter().cloned().collect();
    let columns = record.destruction_due() == row.destruction_due && aliases == row.aliases;
    found_by(record.id() == row.id && record.keyring() == row.keyring, columns)
}

/// Whether a destruction record's row is sound.
pub(crate) fn destruction(sealer: &dyn RecordSealer, row: &DestructionRow) -> Result<(), Why> {
    let record: DestructionRecord = opened(sealer, (Table::Destructions, row.key.as_bytes()), &row.record)?;
    let columns = (record.keyring, record.shard, record.erased_epoch) == (row.keyring, row.shard, row.epoch);
    found_by(record.key == row.key, columns)
}

/// Whether a token's row is sound.
pub(crate) fn token(sealer: &dyn RecordSealer, row: &TokenRow) -> Result<(), Why> {
    let record: TokenRecord = opened(sealer, (Table::Tokens, row.id.as_bytes()), &row.record)?;
    found_by(record.id == row.id && record.principal == row.principal, record.expires == row.expires)
}

/// Whether a principal's row is sound.
pub(crate) fn principal(sealer: &dyn RecordSealer, row: &NamedRow) -> Result<(), Why> {
    let place = (Table::Principals, row.name.as_str().as_bytes());
    found_by(opened::<PrincipalRecord>(sealer, place, &row.record)?.name == row.name, true)
}

/// Whether a policy's row is sound.
pub(crate) fn policy(sealer: &dyn RecordSealer, row: &NamedRow) -> Result<(), Why> {
    let place = (Table::Policies, row.name.as_str().as_bytes());
    found_by(opened::<PolicyRecord>(sealer, place, &row.record)?.name == row.name, true)
}

/// How the rows of a kind of filed record are looked at.
pub(crate) type Check = fn(&dyn RecordSealer, &FiledRow) -> Result<(), Why>;

fn of_kind<R: FiledRecord>(sealer: &dyn RecordSealer, row: &FiledRow) -> Result<(), Why> {
    let (record, _) = open_filed::<R>(sealer, row).map_err(|bad| why(&bad))?;
    found_by(true, record.due() == row.due && record.forget() == row.forget)
}

/// How the rows of a table are looked at; nothing for tables that are not of filed records.
pub(crate) fn filed(table: Table) -> Option<Check> {
    let check: Check = match table {
        Table::Deployment
        | Table::Keyrings
        | Table::Keys
        | Table::Tokens
        | Table::Principals
        | Table::Policies
        | Table::Destructions
        | Table::Outbox
        | Table::Idempotency => return None,
        Table::BackupDrills => of_kind::<drill::DrillRecord>,
        Table::LoginMethods => of_kind::<login::LoginMethod>,
        Table::Logins => of_kind::<login::LoginAttempt>,
        Table::Seen => of_kind::<login::Seen>,
        Table::Subjects => of_kind::<login::KnownSubject>,
        Table::Credentials => of_kind::<login::ServiceCredential>,
        Table::Wrapped => of_kind::<login::Wrapped>,
        Table::Mfa => of_kind::<mfa::MfaCredential>,
        Table::MfaChallenges => of_kind::<mfa::MfaChallenge>,
        Table::Grants => of_kind::<GrantRecord>,
        Table::Approvals => of_kind::<approval::Proposal>,
        Table::OpenRequests => of_kind::<approval::OpenRequest>,
        Table::Rules => of_kind::<RuleBook>,
        Table::Holds => of_kind::<Hold>,
        Table::Incidents => of_kind::<Incident>,
        Table::Emergencies => of_kind::<Emergency>,
        Table::PolicyManifests => of_kind::<policy_version::PolicyManifest>,
        Table::PolicyTexts => of_kind::<policy_version::PolicyText>,
        Table::Drafts => of_kind::<policy_version::PolicyDraft>,
        Table::Reviews => of_kind::<Campaign>,
        Table::ReviewItems => of_kind::<ReviewItem>,
        Table::Uses => of_kind::<LastUse>,
        Table::Notices => of_kind::<Notice>,
        Table::Jobs => of_kind::<Job>,
        Table::DeviceWork => of_kind::<DeviceWork>,
        Table::Imports => of_kind::<ImportRecord>,
        Table::KnownMaterial => of_kind::<KnownMaterial>,
        Table::MaterialEnds => of_kind::<MaterialEnd>,
        Table::BackupKeys => of_kind::<BackupKeyRecord>,
        Table::Backups => of_kind::<BackupRecord>,
        Table::BackupCuts => of_kind::<BackupCut>,
        Table::Shares => of_kind::<SharesRecord>,
        Table::Restores => of_kind::<Restored>,
        Table::Anchors => of_kind::<anchor::AnchorRecord>,
        Table::Rollbacks => of_kind::<anchor::AcceptedRollback>,
        Table::Starts => of_kind::<anchor::StartRecord>,
        Table::Escrow => of_kind::<escrow::EscrowPolicy>,
        Table::EscrowKeys => of_kind::<escrow::EscrowKey>,
        Table::Deposits => of_kind::<escrow::Deposit>,
        Table::EscrowCampaigns => of_kind::<escrow::Campaign>,
        Table::Recoveries => of_kind::<escrow::Recovery>,
        Table::Quarantines => of_kind::<Quarantine>,
    };
    Some(check)
}
