//! Whether the server is older than an anchor remembers.

use keyreeve_model::Name;
use keyreeve_model::anchor::{AnchorRecord, Discord, Holding, LogMark, Statement, compare};
use keyreeve_model::record::Revision;
use keyreeve_root::{AnchorError, Held};
use std::sync::Arc;

use super::{AnchorAt, Anchors, RolledBack, unavailable};
use crate::core::Core;
use crate::error::Error;
use crate::sealing::Opened;

/// An anchor that was heard from and agrees.
pub(super) struct Agreed<'a> {
    pub(super) name: &'a Name,
    pub(super) place: &'a AnchorAt,
    pub(super) held: Held,
    pub(super) known: Option<(AnchorRecord, Revision)>,
}

impl Core {
    /// Compares the server with every anchor that answers. What does not fit is returned first, then those that agree.
    ///
    /// # Errors
    /// While the server opens also that one which must be heard from does not answer.
    pub(super) async fn compare_anchors<'a>(
        &self,
        anchors: &'a Anchors,
        opened: &Opened,
        opening: bool,
    ) -> Result<(Option<RolledBack>, Vec<Agreed<'a>>), Error> {
        let (mut found, mut agreed) = (Vec::new(), Vec::new());
        for (name, place) in &anchors.places {
            let held = match place.anchor.read().await {
                Ok(held) => held,
                // What lies there is no anchor: as if somebody else's.
                Err(AnchorError::Damaged(why)) => {
                    tracing::error!(anchor = %name, why, "an anchor is damaged");
                    found.push((name.clone(), place.anchor.kind(), Discord::Foreign));
                    continue;
                }
                Err(error) => {
                    if anchors.note(name, &error) {
                        tracing::warn!(anchor = %name, %error, "an anchor does not answer");
                    }
                    if opening && place.required {
                        return Err(unavailable(name, &error));
                    }
                    continue;
                }
            };
            let known = self.filed::<AnchorRecord>(opened, name).await?;
            match self.compare_one(opened, name, known.as_ref().map(|(record, _)| record), &held).await? {
                Some(discord) => found.push((name.clone(), place.anchor.kind(), discord)),
                None => agreed.push(Agreed { name, place, held, known }),
            }
        }
        Ok(((!found.is_empty()).then_some(RolledBack { found }), agreed))
    }

    async fn compare_one(
        &self,
        opened: &Opened,
        name: &Name,
        record: Option<&AnchorRecord>,
        held: &Held,
    ) -> Result<Option<Discord>, Error> {
        let check = |bytes: &[u8], mac: &[u8; 32]| opened.keys.is_anchor_mac(bytes, mac);
        let statement = held.statement.as_ref().map(|bytes| Statement::read(bytes, check));
        let holding = Holding { count: held.count, statement: statement.as_ref(), device: held.device.as_deref() };
        match compare(&opened.deployment.id, name, record, holding) {
            Err(discord) => Ok(Some(discord)),
            Ok(None) => Ok(None),
            Ok(Some(mark)) => self.compare_log(&mark).await,
        }
    }

    async fn compare_log(&self, mark: &LogMark) -> Result<Option<Discord>, Error> {
        let (journal, had) = (&self.ports.journal, mark.size);
        Ok(match journal.root(had).await? {
            None => Some(Discord::LogShort { has: journal.size(), had }),
            Some(root) if root.to_base64() != mark.root => Some(Discord::LogOther { size: had }),
            Some(_) => None,
        })
    }

    /// Compares before the server opens.
    pub(crate) async fn compare_before_opening(&self, opened: &Opened) -> Result<Option<RolledBack>, Error> {
        let Some(anchors) = self.anchors.get() else { return Ok(None) };
        let _one = anchors.one.lock().await;
        let (found, _) = self.compare_anchors(anchors, opened, true).await?;
        Ok(found)
    }

    /// From now on nothing is done but what people need to decide.
    pub(crate) fn keep_held(&self, found: RolledBack) {
        for told in found.told() {
            tracing::error!(
                found = told,
                "the server is older than an anchor remembers: it does nothing but ask people"
            );
        }
        if let Err(error) = self.ports.journal.set_signers(Vec::new()) {
            tracing::error!(%error, "the journal's signing keys could not be taken away");
        }
        self.rolled_back.store(Some(Arc::new(found)));
    }
}
