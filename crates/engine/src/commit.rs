//! The stage *commit*: makes changes and audit record durable, in this order and before any reply leaves.
//!
//! An operation that changes something puts its record into the store's outbox in the same transaction, then into the
//! journal; a crash between the two is mended at the next start. Other operations go to the journal only.

use keyreeve_crypto::digest::sha256;
use keyreeve_journal::Entry;
use keyreeve_model::change::IdempotencyRow;
use keyreeve_model::record::{BadRecord, RecordSealer, Revision, SealedRecord, Table};
use keyreeve_model::{Change, Outbox, Transaction, UnixMillis};
use keyreeve_store::StoreError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::access::Stale;
use crate::catalogue::Descriptor;
use crate::core::{Core, Engine};
use crate::courier::Courier;
use crate::error::{Code, Error};
use crate::pipeline::{Arrival, Principal};
use crate::sealing::{Effect, SystemKeys};

/// How long the answer to a request is remembered for its retry.
const REMEMBERED_DAYS: u32 = 1;
/// Outbox records mended at a time.
const MEND: u32 = 256;

/// A wish that a retry shall not do things twice, in the form the store keeps.
pub(crate) struct Ticket {
    key: [u8; 32],
    request: [u8; 32],
}

/// What a call makes durable.
pub(crate) struct Durable {
    /// The operation's name.
    pub(crate) name: &'static str,
    /// What is stored.
    pub(crate) changes: Vec<Change>,
    /// The audit record.
    pub(crate) entry: Option<Entry>,
    /// Seals what is stored; without changes none is needed.
    pub(crate) sealer: Option<Arc<SystemKeys>>,
}

/// What was answered before.
pub(crate) struct Replay {
    pub(crate) reply: Option<Vec<u8>>,
}

impl Ticket {
    /// The ticket of a request, if it carries an idempotency key.
    pub(crate) fn of(arrival: &Arrival, principal: &Principal, operation: &Descriptor) -> Option<Self> {
        let wish = arrival.idempotency.as_ref()?;
        let parts = [principal.name.as_str(), operation.name, &wish.key];
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.bytes().chain([0])).collect();
        Some(Self { key: sha256(&joined), request: wish.request })
    }

    /// The change that remembers the answer. The first byte says whether there is one to repeat.
    pub(crate) fn remember(self, sealer: &dyn RecordSealer, reply: Option<Vec<u8>>, now: UnixMillis) -> Change {
        let mut answer = vec![u8::from(reply.is_some())];
        answer.extend(reply.unwrap_or_default());
        let expires = now.plus_days(REMEMBERED_DAYS);
        let stored = with_mac(sealer, Table::Idempotency, &[self.key, self.request].concat(), &answer);
        Change::Remember { row: IdempotencyRow { key: self.key, request: self.request, reply: stored, expires }, now }
    }
}

/// Bytes behind their MAC, for tables whose rows have no column for it.
fn with_mac(sealer: &dyn RecordSealer, table: Table, row: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mac = sealer.mac(table, row, Revision::FIRST, bytes);
    [mac.as_slice(), bytes].concat()
}

/// The counterpart of [`with_mac`]; refuses what was altered.
pub(crate) fn without_mac<'a>(
    sealer: &dyn RecordSealer,
    table: Table,
    row: &[u8],
    stored: &'a [u8],
) -> Result<&'a [u8], BadRecord> {
    let tampered = BadRecord::Tampered { table: table.name() };
    let (mac, bytes) = stored.split_first_chunk::<32>().ok_or(tampered.clone())?;
    let record = SealedRecord { revision: Revision::FIRST, bytes: bytes.to_vec(), mac: *mac };
    if sealer.check(table, row, &record) { Ok(bytes) } else { Err(tampered) }
}

impl Core {
    /// The answer given before under a ticket.
    pub(crate) async fn remembered(&self, ticket: Option<&Ticket>, now: UnixMillis) -> Result<Option<Replay>, Error> {
        let Some(ticket) = ticket else { return Ok(None) };
        let Some(row) = self.ports.store.remembered(&ticket.key, now).await? else { return Ok(None) };
        if row.request != ticket.request {
            let text = "this idempotency key was used with another request: choose a new one for each new request";
            return Err(Error::new(Code::IdempotencyMismatch, text));
        }
        let opened = self.need_open()?;
        let answer = without_mac(&opened.keys, Table::Idempotency, &[row.key, row.request].concat(), &row.reply)?;
        let reply = answer.split_first().filter(|(flag, _)| **flag == 1).map(|(_, reply)| reply.to_vec());
        Ok(Some(Replay { reply }))
    }

    /// Makes changes and record durable.
    pub(crate) async fn commit(&self, durable: Durable) -> Result<(), Error> {
        let Durable { name, changes, entry, sealer } = durable;
        if changes.is_empty() {
            return self.record(entry).await;
        }
        self.mend_if_dirty().await?;
        let _under_way = self.committing.read().await;
        let sealer = sealer.ok_or_else(|| Error::internal("changes without a deployment"))?;
        let sealed = |entry: &Entry| Outbox {
            id: *entry.id(),
            bytes: with_mac(&sealer, Table::Outbox, entry.id().as_bytes(), entry.bytes()),
        };
        let outbox: Vec<Outbox> = entry.iter().map(sealed).collect();
        let settled = std::mem::take(&mut *self.settled.lock());
        let filed = Courier::filed(&changes);
        let transaction = Transaction { name, changes, outbox, settled: settled.clone() };
        let announced = self.announce(&transaction.changes);
        let committed = self.store(transaction).await;
        announced();
        if let Err(error) = committed {
            self.settled.lock().extend(settled);
            if !matches!(error, StoreError::Conflict { .. } | StoreError::Taken { .. } | StoreError::LeaseLost) {
                self.doubt();
            }
            return Err(error.into());
        }
        self.courier.ring(filed);
        let id = entry.as_ref().map(|entry| *entry.id());
        if let Err(error) = self.record(entry).await {
            self.doubt();
            return Err(error);
        }
        self.settled.lock().extend(id);
        Ok(())
    }

    /// Commits to the store, and notes when another server took it over.
    pub(crate) async fn store(&self, transaction: Transaction) -> Result<(), StoreError> {
        let committed = self.ports.store.commit(transaction).await;
        if matches!(committed, Err(StoreError::LeaseLost)) {
            self.lease_lost.send_replace(true);
        }
        committed
    }

    /// Changes may have been applied although their operation failed: their record then waits in the outbox, and what
    /// is known of principals and policies may be old.
    fn doubt(&self) {
        self.outbox_dirty.store(true, Ordering::Release);
        self.access_is_old();
    }

    /// All that decisions about access are made from is read again before anything else is decided.
    pub(crate) fn access_is_old(&self) {
        self.access.changed(Stale::everything());
    }

    async fn record(&self, entry: Option<Entry>) -> Result<(), Error> {
        if let Some(entry) = entry {
            self.ports.journal.append(vec![entry]).await?;
        }
        Ok(())
    }

    /// Tells the caches which rows change; the returned closure tells them again afterwards.
    fn announce<'a>(&'a self, changes: &[Change]) -> impl FnOnce() + use<'a> {
        let mut keys = Vec::new();
        let mut aliases = Vec::new();
        let mut keyrings = Vec::new();
        let mut tokens = Vec::new();
        for change in changes {
            match change {
                Change::PutKey(row) => {
                    keys.push(row.id);
                    aliases.extend(row.aliases.iter().cloned());
                }
                Change::Rewrap { row, .. } => keys.push(row.key),
                Change::AddMaterial(row) => keys.push(row.key),
                Change::EraseMaterial { key } | Change::EraseVersion { key, .. } => keys.push(*key),
                Change::PutKeyring(row) => keyrings.push(row.id),
                Change::PutToken(row) => tokens.push(row.id),
                Change::PutDeployment(_)
                | Change::AddDestruction { .. }
                | Change::PutPrincipal(_)
                | Change::DeletePrincipal { .. }
                | Change::PutPolicy(_)
                | Change::DeletePolicy { .. }
                | Change::Remember { .. }
                | Change::File(_)
                | Change::Unfile { .. }
                | Change::Expire { .. } => {}
            }
        }
        let tell = move || {
            keys.iter().for_each(|key| self.keys.changing(key));
            aliases.iter().for_each(|alias| self.aliases.changing(alias));
            keyrings.iter().for_each(|keyring| self.keyrings.changing(keyring));
            if !keyrings.is_empty() {
                // Keys in memory are put together with their keyring.
                self.keys.clear();
            }
            tokens.iter().for_each(|token| self.tokens.changing(token));
        };
        tell();
        tell
    }

    /// Brings outbox records that did not reach the journal there, if there may be some.
    pub(crate) async fn mend_if_dirty(&self) -> Result<(), Error> {
        // While sealed there is no key to tell true records by; opening mends first thing.
        if self.outbox_dirty.load(Ordering::Acquire) && self.opened().is_some() {
            self.mend_outbox().await
        } else {
            Ok(())
        }
    }

    /// Looks for outbox records that did not reach the journal, whether or not something points to them: a transaction
    /// whose answer was lost may have been applied since.
    pub(crate) async fn look_for_late_records(&self) -> Result<(), Error> {
        self.outbox_dirty.store(true, Ordering::Release);
        self.mend_if_dirty().await
    }

    /// Brings outbox records that did not reach the journal there. One at a time; afterwards the outbox is clean.
    pub(crate) async fn mend_outbox(&self) -> Result<(), Error> {
        let _alone = self.committing.write().await;
        loop {
            // Whatever turns dirty from here on is found by the next round.
            self.outbox_dirty.store(false, Ordering::Release);
            let result = self.mend_some().await;
            match result {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    self.outbox_dirty.store(true, Ordering::Release);
                    return Err(error);
                }
            }
        }
    }

    async fn mend_some(&self) -> Result<usize, Error> {
        let (waiting, opened) = (self.ports.store.outbox(MEND).await?, self.need_open()?);
        for outbox in &waiting {
            let Ok(bytes) = without_mac(&opened.keys, Table::Outbox, outbox.id.as_bytes(), &outbox.bytes) else {
                // Whoever can write to the database must not get records into the signed log. It is dropped, loudly.
                tracing::error!(record = %outbox.id, "a waiting audit record was altered outside Keyreeve: dropped");
                continue;
            };
            if self.ports.journal.find(&outbox.id).await?.is_none() {
                // Applied later than its caller heard: what was read meanwhile may be older than the change.
                self.forget();
                self.access_is_old();
                let entry = Entry::new(bytes.to_vec()).map_err(Error::internal)?;
                self.ports.journal.append(vec![entry]).await?;
            }
        }
        if !waiting.is_empty() {
            let settled = waiting.iter().map(|outbox| outbox.id).collect();
            let transaction = Transaction { name: "settle-outbox", settled, ..Transaction::default() };
            self.store(transaction).await?;
        }
        Ok(waiting.len())
    }

    /// Removes settled records from the outbox, and what has expired; for quiet times and shutdown.
    pub(crate) async fn settle(&self, now: UnixMillis) -> Result<(), Error> {
        let settled = std::mem::take(&mut *self.settled.lock());
        let changes = vec![Change::Expire { before: now }];
        let transaction = Transaction { name: "settle", changes, settled: settled.clone(), ..Transaction::default() };
        if let Err(error) = self.store(transaction).await {
            self.settled.lock().extend(settled);
            return Err(error.into());
        }
        Ok(())
    }
}

impl Engine {
    /// Carries out what an operation wants in memory and in the epoch vault, once its changes are durable.
    pub(crate) async fn apply(&self, effects: Vec<Effect>) -> Result<(), Error> {
        let mut guards = Vec::new();
        for effect in effects {
            match effect {
                Effect::Reload(stale) => self.reload_access(stale).await?,
                Effect::Rooted(deployment) => self.core.rooted(*deployment),
                Effect::ForgetKeks(keyring) => self.core.forget_keks(keyring),
                Effect::Open => self.open().await?,
                Effect::Seal => self.seal().await,
                Effect::EraseEpochs { old, next } => self.erase_epochs(&old, next).await?,
                // What fails is done later; the key itself is gone.
                Effect::CutBackups(cut) => {
                    if let Err(error) = self.core.cut_now(cut).await {
                        tracing::warn!(%error, "a destroyed key's entry is still in a ledger of backups");
                    }
                }
                // The same: the key is destroyed, and what its device still has is erased by the tick.
                Effect::EraseInDevices(of) => {
                    if let Err(error) = self.erase_in_devices(of).await {
                        tracing::warn!(?of, %error, "a destroyed key is still in its device: it is tried again");
                    }
                }
                Effect::VerifyDestruction(key) => self.verify_destruction(key).await?,
                Effect::ForgetAliases(aliases) => aliases.iter().for_each(|alias| self.core.aliases.changing(alias)),
                Effect::Allow(allowance, messages) => {
                    allowance.fetch_add(messages, Ordering::AcqRel);
                }
                Effect::DeliverNow => self.deliver_now().await,
                Effect::AdoptShares(root, public) => self.core.adopt_shares(&root, Some(&public)).await?,
                Effect::ForgetShares(root) => self.core.adopt_shares(&root, None).await?,
                Effect::WorkOnBackups => self.core.work_on_backups_now(),
                Effect::LeaveHold => self.leave_hold().await?,
                Effect::ForgetRows => self.core.forget(),
                Effect::ForgetRecovery(recovery) => self.core.escrow.forget(recovery),
                Effect::WorkOnJobs => self.core.job_bell.notify_one(),
                Effect::Hold(guard) => guards.push(guard),
            }
        }
        Ok(())
    }
}
