//! Open and sealed: what the server knows only while the root of trust is open, and how it comes and goes.

use arc_swap::ArcSwap;
use keyreeve_audit::{Ed25519Signer, MlDsa44Cosigner, NoteSigner};
use keyreeve_crypto::kdf::hkdf_sha256;
use keyreeve_crypto::mac::MacKey;
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, LoadedKey, Material, Purpose, Random};
use keyreeve_epochs::EpochId;
use keyreeve_model::device::DeviceUse;
use keyreeve_model::field::{SealedField, field_context};
use keyreeve_model::record::{BadRecord, RecordSealer, Revision, SealedRecord, Table};
use keyreeve_model::{DeploymentRecord, KeyId, KeyringId, Name};
use keyreeve_secret::SecretBytes;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::access::{AccessSnapshot, Stale};
use crate::error::Error;
use crate::keys::Hierarchy;

/// What happens in memory and in the epoch vault once an operation's changes are durable.
pub(crate) enum Effect {
    /// Read anew what decisions about access are made from, and changed.
    Reload(Stale),
    /// The deployment has other roots of trust, or its secret is under others.
    Rooted(Box<DeploymentRecord>),
    /// Key-encryption keys of a keyring are no more.
    ForgetKeks(KeyringId),
    /// Open the server: the root of trust is open.
    Open,
    /// Seal the server.
    Seal,
    /// Erase epochs that nothing is wrapped under any more; another is the newest now.
    EraseEpochs {
        /// What goes.
        old: Vec<EpochId>,
        /// What new material is wrapped under from now on.
        next: EpochId,
    },
    /// Take a destroyed key out of the ledgers of backups.
    CutBackups(keyreeve_model::RowId),
    /// Erase in devices what is filed to be erased of a key, then show that it is gone.
    EraseInDevices(DeviceUse),
    /// Show that a key is gone, as an operation of the server itself.
    VerifyDestruction(KeyId),
    /// Aliases that no longer lead to a key.
    ForgetAliases(Vec<Name>),
    /// Let a key version protect so many more messages.
    Allow(Arc<AtomicU64>, u64),
    /// Try to deliver the notices that wait now, and not later: people are told before the answer leaves.
    DeliverNow,
    /// Let a root of trust follow the parameters of its new shares, which were committed.
    AdoptShares(Name, serde_json::Value),
    /// Let a root of trust forget shares that were given to it for an exchange.
    ForgetShares(Name),
    /// Rows that are kept in memory may be others: they are read again.
    ForgetRows,
    /// Forget the shares that agents gave towards a recovery.
    ForgetRecovery(keyreeve_model::ids::RecoveryId),
    /// A job was begun.
    WorkOnJobs,
    /// A job about backups was begun.
    WorkOnBackups,
    /// Serve again: people agreed to go on with a server that is older than its anchors.
    LeaveHold,
    /// Nothing: keeps a lock until everything above is done.
    Hold(Guard),
}

/// Keeps the epoch of a shard from changing, or keeps others from using it while it changes.
pub(crate) enum Guard {
    /// Many may add material at once.
    Shared(#[allow(dead_code, reason = "held for its drop")] tokio::sync::OwnedRwLockReadGuard<()>),
    /// One replaces the epoch.
    Exclusive(#[allow(dead_code, reason = "held for its drop")] tokio::sync::OwnedRwLockWriteGuard<()>),
}

/// The server's own secrets, derived from the system secret that the root of trust wraps.
pub(crate) struct SystemKeys {
    records: MacKey,
    fields: LoadedKey,
    recovery: MacKey,
    outside: MacKey,
    anchors: MacKey,
    pub(crate) signers: Vec<Arc<dyn NoteSigner>>,
}

impl SystemKeys {
    /// Derives the keys (HKDF-SHA-256, one label each).
    pub(crate) fn derive(secret: &SecretBytes, log_origin: &str) -> Result<Self, Error> {
        let key = |label: &str| hkdf_sha256::<32>(secret.expose(), &[], label.as_bytes());
        let log =
            Ed25519Signer::from_seed(log_origin, key("keyreeve/log/ed25519/1")?.expose()).map_err(Error::internal)?;
        let cosigner = MlDsa44Cosigner::from_seed(log_origin, key("keyreeve/log/ml-dsa-44/1")?.expose())
            .map_err(Error::internal)?;
        let records = MacKey::new(HashAlgorithm::Sha256, key("keyreeve/records/1")?.expose());
        let recovery = MacKey::new(HashAlgorithm::Sha256, key("keyreeve/recovery/1")?.expose());
        let outside = MacKey::new(HashAlgorithm::Sha256, key("keyreeve/outside/1")?.expose());
        let anchors = MacKey::new(HashAlgorithm::Sha256, key("keyreeve/anchors/1")?.expose());
        let fields = SecretBytes::copy_from(key("keyreeve/fields/1")?.expose());
        let fields = LoadedKey::load(&Material::import(KeyAlgorithm::Xaes256Gcm, &fields)?, Purpose::Encrypt)?;
        Ok(Self { records, fields, recovery, outside, anchors, signers: vec![Arc::new(log), Arc::new(cosigner)] })
    }

    /// Seals a secret for its place in a record.
    pub(crate) fn seal_field(
        &self,
        random: &Random,
        (table, row, field): (Table, &[u8], &str),
        secret: &[u8],
    ) -> Result<SealedField, Error> {
        Ok(SealedField::new(self.fields.seal(random, &field_context(table, row, field), secret)?))
    }

    /// Opens a secret where it stands.
    pub(crate) fn open_field(
        &self,
        (table, row, field): (Table, &[u8], &str),
        sealed: &SealedField,
    ) -> Result<SecretBytes, Error> {
        let opened = self.fields.open(&field_context(table, row, field), sealed.as_bytes());
        opened.map_err(|_| BadRecord::Tampered { table: table.name() }.into())
    }

    /// HMAC-SHA-256 of what people keep on paper: whoever reads the store alone cannot search for it.
    pub(crate) fn recovery_mac(&self) -> &MacKey {
        &self.recovery
    }

    /// Tells whether two keys are the same, whatever they are for: HMAC-SHA-256 of the public half, or of a symmetric
    /// key itself. What others brought may be easy to guess, so nobody else must be able to try.
    pub(crate) fn identity(&self, material: &Material) -> Result<String, Error> {
        let secret = material.serialize();
        let tag = match material.public_key()? {
            Some(public) => self.outside.mac(public.spki()),
            None => self.outside.mac(secret.expose()),
        };
        Ok(hex::encode(tag))
    }

    /// HMAC-SHA-256 of what an anchor keeps, which lies where others can write.
    pub(crate) fn anchor_mac(&self, bytes: &[u8]) -> [u8; 32] {
        let tag = self.anchors.mac(bytes);
        let mut mac = [0; 32];
        mac.copy_from_slice(&tag[..32]);
        mac
    }

    /// Whether that is one; compared in constant time.
    pub(crate) fn is_anchor_mac(&self, bytes: &[u8], mac: &[u8; 32]) -> bool {
        self.anchors.verify(bytes, mac).is_ok()
    }

    pub(crate) fn log_vkeys(&self) -> Vec<String> {
        self.signers.iter().map(|signer| signer.verifier().to_string()).collect()
    }
}

fn mac_input(table: Table, row: &[u8], revision: Revision, bytes: &[u8]) -> Vec<u8> {
    let name = table.name().as_bytes();
    let mut input = Vec::with_capacity(name.len() + row.len() + bytes.len() + 24);
    for part in [name, row] {
        input.extend_from_slice(&(part.len() as u64).to_be_bytes());
        input.extend_from_slice(part);
    }
    input.extend_from_slice(&revision.0.to_be_bytes());
    input.extend_from_slice(bytes);
    input
}

impl RecordSealer for SystemKeys {
    fn mac(&self, table: Table, row: &[u8], revision: Revision, bytes: &[u8]) -> [u8; 32] {
        let tag = self.records.mac(&mac_input(table, row, revision, bytes));
        let mut mac = [0; 32];
        mac.copy_from_slice(&tag[..32]);
        mac
    }

    fn check(&self, table: Table, row: &[u8], record: &SealedRecord) -> bool {
        self.records.verify(&mac_input(table, row, record.revision, &record.bytes), &record.mac).is_ok()
    }
}

/// Everything that exists only while the root of trust is open.
pub(crate) struct Opened {
    /// As it was when the server opened; what does not change for as long as the deployment lives is read from here.
    pub(crate) deployment: DeploymentRecord,
    /// Its roots of trust, which may change while the server is open.
    rooted: ArcSwap<DeploymentRecord>,
    pub(crate) keys: Arc<SystemKeys>,
    pub(crate) hierarchy: Arc<Hierarchy>,
    access: ArcSwap<AccessSnapshot>,
}

impl Opened {
    pub(crate) fn new(
        deployment: DeploymentRecord,
        keys: Arc<SystemKeys>,
        hierarchy: Hierarchy,
        access: AccessSnapshot,
    ) -> Self {
        let rooted = ArcSwap::from_pointee(deployment.clone());
        Self { deployment, rooted, keys, hierarchy: Arc::new(hierarchy), access: ArcSwap::from_pointee(access) }
    }

    /// The deployment with its roots of trust as they are now.
    pub(crate) fn rooted(&self) -> Arc<DeploymentRecord> {
        self.rooted.load_full()
    }

    pub(crate) fn replace_roots(&self, deployment: DeploymentRecord) {
        self.rooted.store(Arc::new(deployment));
    }

    pub(crate) fn access(&self) -> arc_swap::Guard<Arc<AccessSnapshot>> {
        self.access.load()
    }

    pub(crate) fn replace_access(&self, access: AccessSnapshot) {
        self.access.store(Arc::new(access));
    }
}

/// The system secret: 32 bytes from the generator.
pub(crate) fn new_system_secret(random: &Random) -> Result<SecretBytes, Error> {
    Ok(random.secret_bytes(32)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> SystemKeys {
        SystemKeys::derive(&SecretBytes::copy_from(&[7; 32]), "log.example/audit").unwrap()
    }

    #[test]
    fn a_record_opens_only_in_its_own_row_and_revision() {
        let keys = keys();
        let record = |mac, revision| SealedRecord { revision, bytes: b"{}".to_vec(), mac };
        let mac = keys.mac(Table::Keys, b"row", Revision(3), b"{}");
        assert!(keys.check(Table::Keys, b"row", &record(mac, Revision(3))));
        assert!(!keys.check(Table::Keys, b"row", &record(mac, Revision(2))));
        assert!(!keys.check(Table::Keys, b"rox", &record(mac, Revision(3))));
        assert!(!keys.check(Table::Tokens, b"row", &record(mac, Revision(3))));
        let mut altered = record(mac, Revision(3));
        altered.bytes = b"{ }".to_vec();
        assert!(!keys.check(Table::Keys, b"row", &altered));
    }

    #[test]
    fn a_field_opens_only_in_its_own_place() {
        let (keys, random) = (keys(), Random::from_module().unwrap());
        let place = (Table::Mfa, b"row".as_slice(), "secret");
        let sealed = keys.seal_field(&random, place, b"seed").unwrap();
        assert_eq!(keys.open_field(place, &sealed).unwrap().expose(), b"seed");
        for elsewhere in [(Table::Mfa, b"rox".as_slice(), "secret"), (Table::Mfa, b"row", "other")] {
            assert_eq!(keys.open_field(elsewhere, &sealed).unwrap_err().code(), crate::Code::Tampered);
        }
        assert!(keys.open_field((Table::Grants, b"row", "secret"), &sealed).is_err());
    }

    #[test]
    fn the_parts_of_a_row_cannot_be_shifted_into_one_another() {
        assert_ne!(mac_input(Table::Keys, b"ab", Revision(1), b"c"), mac_input(Table::Keys, b"a", Revision(1), b"bc"));
    }
}
