//! Notices: what waits on which channel, and whether a channel works.

use keyreeve_model::filed::RowId;
use keyreeve_model::ids::NoticeId;
use keyreeve_model::{Change, Facts, Name, Notice, NoticeKind};
use keyreeve_store::Page;

use super::PAGE_MAX;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// A channel as it is configured; no secret.
#[derive(Clone, Debug)]
pub struct ChannelReply {
    /// Its name.
    pub name: Name,
    /// What it is: `webhook`, `smtp`.
    pub kind: &'static str,
    /// Where it leads.
    pub destination: String,
    /// The kinds of notices that go there besides those that go everywhere; all where there is nothing.
    pub only: Option<Vec<NoticeKind>>,
}

/// Channels and waiting notices.
#[derive(Debug)]
pub struct Waiting {
    /// The channels.
    pub channels: Vec<ChannelReply>,
    /// Notices that wait or were given up.
    pub notices: Vec<Notice>,
    /// Where the next page starts; none at the end.
    pub next: Option<NoticeId>,
}

impl Remember for Waiting {}

/// Shows channels, and notices that wait or were given up, by id.
#[derive(Debug)]
pub struct List {
    /// Only notices after this one.
    pub after: Option<NoticeId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::NOTICE_LIST;
    type Reply = Waiting;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Waiting>, Error> {
        let opened = core.need_open()?;
        let page = Page { after: self.after.map(RowId::from), limit: self.limit.clamp(1, PAGE_MAX) };
        let (found, next) = core.filed_page::<Notice>(&opened, None, page).await?;
        let notices: Vec<Notice> = found.into_iter().map(|(notice, _)| notice).collect();
        let channels = core.courier.channels().iter().map(|channel| ChannelReply {
            name: channel.notifier.channel().clone(),
            kind: channel.notifier.kind(),
            destination: channel.notifier.destination(),
            only: channel.only.as_ref().map(|only| only.iter().copied().collect()),
        });
        let next = next.and_then(|_| notices.last().map(|notice| notice.id));
        let waiting = Waiting { channels: channels.collect(), notices, next };
        let listed = waiting.notices.len();
        Ok(Outcome::reply(waiting).detail("listed", listed))
    }
}

/// Files a notice that says nothing, for one channel or for all.
#[derive(Debug)]
pub struct Test {
    /// The channel; all where there is nothing.
    pub channel: Option<Name>,
}

/// The notices that were filed.
#[derive(Debug)]
pub struct Filed {
    /// Their ids, by channel.
    pub notices: Vec<(Name, NoticeId)>,
}

impl Remember for Filed {}

impl Operation for Test {
    const DESCRIPTOR: &'static Descriptor = &catalogue::NOTICE_TEST;
    type Reply = Filed;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Filed>, Error> {
        let opened = core.need_open()?;
        let (now, by) = (approved.now(), &approved.principal().name);
        let telling = Telling::new(
            NoticeKind::Test,
            format!("{by} tries whether this channel works"),
            Facts::default().with("operation", Self::DESCRIPTOR.name).with("by", by),
        );
        let mut outcome = Outcome::reply(Filed { notices: Vec::new() });
        for channel in core.courier.channels() {
            let name = channel.notifier.channel();
            if self.channel.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            let (id, change): (NoticeId, Change) = core.notice_for(&opened, channel, &telling, None, now)?;
            outcome.reply.notices.push((name.clone(), id));
            outcome = outcome.changing(change);
        }
        match (&self.channel, outcome.reply.notices.is_empty()) {
            (Some(_), true) => Err(Error::not_found("channel")),
            (None, true) => {
                let text = "no channel is configured: add one to `notify.channels` in the server's configuration";
                Err(Error::new(Code::WrongState, text))
            }
            (wanted, false) => {
                let channels: Vec<String> = outcome.reply.notices.iter().map(|(name, _)| name.to_string()).collect();
                debug_assert!(wanted.is_none() || channels.len() == 1);
                Ok(outcome.detail("channels", channels.join(" ")))
            }
        }
    }
}
