//! How each anchor does, and people told of those that do not do their work.

use futures::future::BoxFuture;
use keyreeve_model::anchor::AnchorRecord;
use keyreeve_model::filed::file;
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, Name, NoticeKind, UnixMillis};
use std::sync::Arc;
use std::time::Duration;

use super::AnchorState;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::Error;
use crate::ops::anchors::RecordRollback;
use crate::sealing::Opened;

/// How long the same trouble of an anchor is not told again.
const QUIET: Duration = Duration::from_secs(24 * 3600);

fn told((name, why): (Name, String)) -> String {
    format!("{name}: {why}")
}

impl Core {
    /// How the server stands towards each anchor, those that are configured no more included.
    pub(crate) async fn anchor_states(&self, opened: &Opened) -> Result<Vec<AnchorState>, Error> {
        let mut known: Vec<(AnchorRecord, Revision)> = self.filed_all(opened, None).await?;
        let mut states = Vec::new();
        for (name, place) in self.anchors.get().iter().flat_map(|anchors| &anchors.places) {
            let at = known.iter().position(|(record, _)| record.name == *name);
            states.push(AnchorState {
                name: name.clone(),
                kind: place.anchor.kind(),
                place: place.anchor.place(),
                required: place.required,
                known: at.map(|at| known.remove(at).0),
                trouble: self.anchors.get().and_then(|anchors| anchors.trouble_of(name)),
            });
        }
        let gone = known.into_iter().map(|(record, _)| AnchorState {
            name: record.name.clone(),
            kind: "none",
            place: String::new(),
            required: false,
            known: Some(record),
            trouble: Some("it is not in the configuration any more".to_owned()),
        });
        states.extend(gone);
        Ok(states)
    }

    /// Whether people heard of an anchor's trouble not long ago; they hear of it now otherwise.
    fn is_quiet_about(&self, name: &Name, now: UnixMillis) -> bool {
        let mut told = self.anchors_told.lock();
        if told.get(name).is_some_and(|until| now < *until) {
            return true;
        }
        told.insert(name.clone(), now.plus(QUIET));
        false
    }

    /// Which anchors keep the server from opening, if any do.
    pub(crate) fn waits_for_anchor(&self) -> Option<String> {
        let anchors = self.anchors.get().filter(|_| self.opened().is_none())?;
        let waits = |name: &Name| anchors.places.get(name).is_some_and(|place| place.required);
        let ills: Vec<String> = anchors.ills().into_iter().filter(|(name, _)| waits(name)).map(told).collect();
        (!ills.is_empty()).then(|| ills.join("; "))
    }

    fn is_configured(&self, name: &Name) -> bool {
        self.anchors.get().is_some_and(|anchors| anchors.places.contains_key(name))
    }

    async fn tell_of_anchor(&self, opened: &Arc<Opened>, name: &Name, why: &str, now: UnixMillis) -> Result<(), Error> {
        tracing::warn!(anchor = %name, why, "an anchor does not do its work");
        let facts = Facts::default().with("anchor", name).with("trouble", why);
        let telling = Telling::new(NoticeKind::AnchorTrouble, format!("the anchor {name} does not do its work"), facts);
        let mut changes = self.notice(opened, &telling, None, now)?;
        if !self.is_configured(name)
            && let Some((record, revision)) = self.filed::<AnchorRecord>(opened, name).await?
        {
            let record = AnchorRecord { gone: Some(now), ..record };
            changes.push(file(&opened.keys, revision.next(), &record));
        }
        self.store_own("anchor-trouble", opened, changes).await
    }
}

impl Engine {
    /// Puts on record that the server is older than its anchors, and tells people.
    /// Boxed, because it goes through the pipeline from inside of it.
    pub(crate) fn record_rollback(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let recorded = self.call_as_server("rolled-back", RecordRollback).await;
            recorded.map(|_| ()).map_err(|refused| refused.error)
        })
    }

    /// Tells people of anchors that do not answer, once a day, and of those that are configured no more, once.
    pub(super) async fn tell_of_anchors(&self, opened: &Arc<Opened>) -> Result<(), Error> {
        let core = &*self.core;
        let now = core.now()?;
        for AnchorState { name, known, trouble, .. } in core.anchor_states(opened).await? {
            let told = known.is_some_and(|record| record.gone.is_some()) && !core.is_configured(&name);
            if let Some(why) = trouble
                && !told
                && !core.is_quiet_about(&name, now)
            {
                core.tell_of_anchor(opened, &name, &why, now).await?;
            }
        }
        Ok(())
    }
}
