//! What falls due with escrow: campaigns each quarter, deposits that are missing, and versions of the escrow key that
//! nothing is deposited under any more.

use keyreeve_model::escrow::{EscrowKey, EscrowKeyState};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::{Change, Facts, KeyId, NoticeKind, UnixMillis};
use keyreeve_store::{KeyFilter, Page};
use std::sync::Arc;
use std::time::Duration;

use crate::commit::Durable;
use crate::core::Engine;
use crate::courier::Telling;
use crate::error::Error;
use crate::escrow::Sweep;
use crate::keys::KeyRef;
use crate::ops::escrow::{Deposit, Escrowing, OpenCampaign};
use crate::sealing::Opened;

/// Keys looked at in one round (count).
const AT_ONCE: u32 = 500;
/// How long the same trouble is not told again.
const QUIET: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// Opens campaigns that are due, tells of those that are overdue, and goes through some keys.
    pub(crate) async fn look_after_escrow(&self) -> Result<(), Error> {
        let opened = self.core.need_open()?;
        let escrowing = self.core.escrowing(&opened).await?;
        let active = self.core.active_escrow_key(&opened).await?.map(|(key, _)| key);
        self.look_after_campaign(&opened, active.as_ref()).await?;
        self.sweep_deposits(&opened, escrowing.as_ref()).await
    }

    async fn look_after_campaign(&self, opened: &Arc<Opened>, active: Option<&EscrowKey>) -> Result<(), Error> {
        let (core, now) = (&*self.core, self.core.now()?);
        let newest = core.newest_campaign(opened).await?;
        let Some(active) = active else { return Ok(()) };
        let due =
            newest.as_ref().is_none_or(|(campaign, _)| campaign.escrow != active.version || campaign.next() <= now);
        if due {
            let opened = self.call_as_server("escrow-campaign", OpenCampaign).await;
            return opened.map(|_| ()).map_err(|refused| refused.error);
        }
        let Some((campaign, revision)) = newest else { return Ok(()) };
        {
            let mut health = core.escrow.health.lock();
            health.campaign_overdue = campaign.is_overdue(now);
            health.verified = campaign.closed.filter(|_| campaign.verified).or(health.verified);
        }
        let Some(next) = campaign.clone().remind(now) else { return Ok(()) };
        let (shares, _) = core.escrow_shares(opened, campaign.escrow).await?;
        let facts = Facts::default()
            .with("campaign", campaign.number)
            .with("due", campaign.due)
            .with("missing", campaign.missing(&shares.current).join(", "));
        let subject = format!("the escrow is not verified: campaign {} is overdue", campaign.number);
        let telling = Telling::new(NoticeKind::EscrowOverdue, subject, facts);
        let mut changes = vec![file(&opened.keys, revision.next(), &next)];
        changes.extend(core.notice(opened, &telling, None, now)?);
        self.filed("escrow-overdue", changes, opened).await
    }

    /// Goes through some keys, and once through all sums up.
    async fn sweep_deposits(&self, opened: &Arc<Opened>, escrowing: Option<&Escrowing>) -> Result<(), Error> {
        let core = &*self.core;
        let after = core.escrow.sweep.lock().after;
        let page = Page { after, limit: AT_ONCE };
        let rows = core.ports.store.keys(&KeyFilter::default(), page).await?;
        for row in &rows {
            // One key that cannot be looked at keeps no other from being deposited, and counts as missing.
            if let Err(error) = self.bring_in_line(opened, escrowing, row.id).await {
                tracing::error!(key = %row.id, %error, "an escrowed key could not be looked at");
                core.escrow.sweep.lock().missing += 1;
            }
            core.escrow.sweep.lock().after = Some(row.id);
        }
        if rows.len() < AT_ONCE as usize { self.swept(opened).await } else { Ok(()) }
    }

    async fn bring_in_line(&self, opened: &Arc<Opened>, escrowing: Option<&Escrowing>, id: KeyId) -> Result<(), Error> {
        let core = &*self.core;
        let Some(key) = core.find_key(&KeyRef::Id(id)).await? else { return Ok(()) };
        let found = core.difference(opened, escrowing, &key).await?;
        let mut lacks = false;
        if !found.is_none() && escrowing.is_some() {
            lacks = match self.call_as_server("escrow-deposit", Deposit { key: KeyRef::Id(id) }).await {
                Ok(done) => !done.reply.failed.is_empty(),
                Err(refused) => {
                    tracing::error!(key = %id, error = %refused.error, "an escrowed key could not be deposited");
                    true
                }
            };
        }
        let present = core.difference(opened, escrowing, &key).await?.present;
        let mut sweep = core.escrow.sweep.lock();
        sweep.versions.extend(present.iter().map(|(deposit, _)| deposit.escrow));
        sweep.keys += u64::from(found.concerned);
        sweep.missing += u64::from(lacks);
        Ok(())
    }

    async fn swept(&self, opened: &Arc<Opened>) -> Result<(), Error> {
        let (core, now) = (&*self.core, self.core.now()?);
        let sweep = std::mem::take(&mut *core.escrow.sweep.lock());
        {
            let mut health = core.escrow.health.lock();
            (health.keys, health.missing, health.swept) = (sweep.keys, sweep.missing, Some(now));
        }
        self.retire(opened, &sweep).await?;
        let policy = core.escrow_policy(opened).await?.is_some_and(|(policy, _)| !policy.rules.is_empty());
        let keyless = policy && core.active_escrow_key(opened).await?.is_none();
        if keyless || sweep.missing > 0 { self.tell_of_missing(opened, &sweep, keyless, now).await } else { Ok(()) }
    }

    /// Versions that another took the place of go once nothing is deposited under them: their shares open nothing then.
    async fn retire(&self, opened: &Arc<Opened>, sweep: &Sweep) -> Result<(), Error> {
        let core = &*self.core;
        for (key, revision) in core.escrow_keys(opened).await? {
            if key.state == EscrowKeyState::Replaced && !sweep.versions.contains(&key.version) {
                let (shares, known) = core.escrow_shares(opened, key.version).await?;
                let changes = vec![unfile(revision, &key), unfile(known, &shares)];
                self.filed("escrow-key-retired", changes, opened).await?;
            }
        }
        Ok(())
    }

    async fn tell_of_missing(
        &self,
        opened: &Arc<Opened>,
        sweep: &Sweep,
        keyless: bool,
        now: UnixMillis,
    ) -> Result<(), Error> {
        let core = &*self.core;
        if core.escrow.told.lock().is_some_and(|until| now < until) {
            return Ok(());
        }
        let subject = match keyless {
            true => "the escrow policy names keys, and there is no escrow key to deposit them under".to_owned(),
            false => format!("{} keys that the escrow policy names could not be deposited", sweep.missing),
        };
        let facts = Facts::default().with("keys", sweep.keys).with("missing", sweep.missing);
        let telling = Telling::new(NoticeKind::EscrowOverdue, subject, facts);
        let changes = core.notice(opened, &telling, None, now)?;
        self.filed("escrow-missing", changes, opened).await?;
        *core.escrow.told.lock() = Some(now.plus(QUIET));
        Ok(())
    }

    async fn filed(&self, name: &'static str, changes: Vec<Change>, opened: &Arc<Opened>) -> Result<(), Error> {
        let sealer = Some(Arc::clone(&opened.keys));
        self.core.commit(Durable { name, changes, entry: None, sealer }).await
    }
}
