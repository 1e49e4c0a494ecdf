//! Moving anchors on. What is expected of an anchor is stored before it moves: a server that dies in between finds it
//! one step behind, and a store that expects less than the anchor has is an old one.

use keyreeve_audit::{Checkpoint, SignedNote};
use keyreeve_model::anchor::{AnchorRecord, Statement, Taken};
use keyreeve_model::filed::file;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, UnixMillis};
use std::sync::Arc;

use super::AnchorAt;
use super::comparing::Agreed;
use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::error::Error;
use crate::sealing::Opened;

/// Which anchors are moved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All of them, now.
    All,
    /// Those whose time has come.
    Due,
}

impl AnchorAt {
    fn is_due(&self, record: Option<&AnchorRecord>, now: UnixMillis, size: u64) -> bool {
        let Some(record) = record.filter(|record| record.expects.is_some()) else { return true };
        let grown = size.saturating_sub(record.log_size);
        // A clock that went back makes nothing wait for ever.
        grown >= self.entries || grown > 0 && (record.at.plus(self.every) <= now || now < record.at)
    }
}

impl Engine {
    /// Looks at the anchors again, and moves on those whose turn it is. The server is held when one of them knows it
    /// better by now: its store was exchanged under it.
    pub(crate) async fn look_after_anchors(&self, which: Which) -> Result<(), Error> {
        let (core, Some(anchors)) = (&*self.core, self.core.anchors.get()) else { return Ok(()) };
        let (Some(opened), None) = (core.opened(), core.held()) else { return Ok(()) };
        let (found, troubles) = {
            let _one = anchors.one.lock().await;
            let (found, agreed) = core.compare_anchors(anchors, &opened, false).await?;
            let mut troubles = Vec::new();
            if found.is_none() {
                let now = core.now()?;
                for agreed in agreed {
                    let (name, record) = (agreed.name, agreed.known.as_ref().map(|(record, _)| record));
                    let due = which == Which::All || agreed.place.is_due(record, now, core.ports.journal.size());
                    let stepped = if due { core.step(&opened, agreed).await } else { Ok(()) };
                    match stepped {
                        Ok(()) => anchors.is_well(name),
                        Err(error) => {
                            anchors.note(name, &error);
                            troubles.push(error);
                        }
                    }
                }
            }
            (found, troubles)
        };
        if let Some(found) = found {
            core.keep_held(found);
            self.record_rollback().await?;
        }
        troubles.into_iter().next().map_or(Ok(()), Err)
    }

    /// What falls due with time.
    pub(crate) async fn tend_anchors(&self) -> Result<(), Error> {
        if self.core.held().is_some() {
            return self.go_on_leaving().await;
        }
        self.look_after_anchors(Which::Due).await?;
        match self.core.opened() {
            Some(opened) => self.tell_of_anchors(&opened).await,
            None => Ok(()),
        }
    }
}

impl Core {
    async fn step(&self, opened: &Arc<Opened>, agreed: Agreed<'_>) -> Result<(), Error> {
        let Agreed { name, place, held, known } = agreed;
        let checkpoint = self.ports.journal.checkpoint().await?;
        let note = SignedNote::parse(checkpoint.as_bytes()).map_err(Error::internal)?;
        let head = Checkpoint::parse(&note.text).map_err(Error::internal)?;
        // A counter that never counted begins where it likes.
        let expects = match (held.count, place.anchor.keeps_statements()) {
            (Some(count), _) => Some(count + 1),
            (None, true) => Some(1),
            (None, false) => None,
        };
        let record = AnchorRecord {
            name: name.clone(),
            expects,
            taken: expects.is_none().then_some(Taken::New),
            device: held.device,
            at: self.now()?,
            log_size: head.size,
            log_root: head.root.to_base64(),
            gone: None,
        };
        let revision = known.map_or(Revision::FIRST, |(_, revision)| revision.next());
        self.store_own("anchor", opened, vec![file(&opened.keys, revision, &record)]).await?;
        let statement = self.statement(opened, &record, checkpoint)?;
        let count = place.anchor.advance(held.count, &statement).await;
        let count = count.map_err(|error| unmoved(name, &error))?;
        if expects != Some(count) {
            let record = AnchorRecord { expects: Some(count), taken: None, ..record };
            self.store_own("anchor", opened, vec![file(&opened.keys, revision.next(), &record)]).await?;
        }
        tracing::debug!(anchor = %name, count, log_size = head.size, "an anchor moved on");
        Ok(())
    }

    fn statement(&self, opened: &Opened, record: &AnchorRecord, checkpoint: String) -> Result<Vec<u8>, Error> {
        let statement = Statement {
            v: 1,
            deployment: opened.deployment.id,
            anchor: record.name.clone(),
            count: record.expects.unwrap_or_default(),
            at: record.at,
            log_size: record.log_size,
            log_root: record.log_root.clone(),
            checkpoint,
        };
        statement.write(|bytes| opened.keys.anchor_mac(bytes)).map_err(Error::internal)
    }

    /// Stores what the server does by itself and for itself alone.
    pub(super) async fn store_own(
        &self,
        name: &'static str,
        opened: &Arc<Opened>,
        changes: Vec<Change>,
    ) -> Result<(), Error> {
        self.commit(Durable { name, changes, entry: None, sealer: Some(Arc::clone(&opened.keys)) }).await
    }
}

fn unmoved(name: &Name, error: &keyreeve_root::AnchorError) -> Error {
    let text = format!("the anchor `{name}` was not moved on: {error}");
    Error::new(crate::error::Code::AnchorUnavailable, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_root::anchor_suite::MemoryAnchor;
    use std::time::Duration;

    #[test]
    fn an_anchor_moves_when_something_happened_and_its_time_has_come() {
        let place = AnchorAt {
            anchor: Arc::new(MemoryAnchor::keeping()),
            every: Duration::from_secs(60),
            entries: 100,
            required: true,
        };
        let name: Name = "usb".parse().unwrap();
        let taken = AnchorRecord::taking(name, Taken::New, UnixMillis(0));
        let moved =
            AnchorRecord { expects: Some(4), taken: None, at: UnixMillis(1_000_000), log_size: 50, ..taken.clone() };
        let due = |millis, size| place.is_due(Some(&moved), UnixMillis(millis), size);
        assert!(place.is_due(None, UnixMillis(0), 0) && place.is_due(Some(&taken), UnixMillis(0), 0));
        assert!(!due(1_060_000, 50), "nothing happened");
        assert!(!due(1_059_999, 51) && due(1_060_000, 51));
        assert!(!due(1_000_001, 149) && due(1_000_001, 150), "much happened");
        assert!(due(999_999, 51), "the clock went back");
    }
}
