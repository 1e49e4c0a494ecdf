//! Notices to people.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::notices::{ChannelReply, List, Test};
use keyreeve_http::Problem;
use keyreeve_model as model;
use keyreeve_wire::Pairs;
use keyreeve_wire::notices::{Channel, FiledNotice, FiledNotices, Notice, Notices, TestNotices};

use super::keyrings::Paging;
use crate::answer;
use crate::call::{Asking, Json, Known};
use crate::convert::{optional, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/notices", Admin, NOTICE_LIST, list).query(Paging::PARAMS).gives::<Notices>(),
    route!(Post "/notices/test", Admin, NOTICE_TEST, test)
        .takes::<TestNotices>(r#"{"channel":"oncall"}"#)
        .gives::<FiledNotices>()
        .note("The answer does not wait for the delivery: a notice that is not listed any more was taken."),
];

async fn list(State(engine): State<Engine>, call: Asking<Paging>) -> Result<Response, Problem> {
    let operation = List { after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    let reply = Notices {
        channels: done.reply.channels.iter().map(channel).collect(),
        items: done.reply.notices.iter().map(notice).collect(),
        next: done.reply.next.map(|id| id.to_string()),
    };
    answer::json(done.record, &reply)
}

async fn test(State(engine): State<Engine>, call: Json<TestNotices>) -> Result<Response, Problem> {
    let operation = Test { channel: optional("channel", call.body.channel.as_deref())? };
    let done = engine.call(call.arrival, operation).await?;
    let filed = |(channel, id): &(model::Name, model::ids::NoticeId)| FiledNotice {
        channel: channel.to_string(),
        id: id.to_string(),
    };
    answer::json(done.record, &FiledNotices { notices: done.reply.notices.iter().map(filed).collect() })
}

fn channel(channel: &ChannelReply) -> Channel {
    let only = channel.only.as_ref().map(|only| only.iter().map(|kind| kind.name().to_owned()).collect());
    Channel {
        name: channel.name.to_string(),
        kind: channel.kind.to_owned(),
        destination: channel.destination.clone(),
        only,
    }
}

fn notice(notice: &model::Notice) -> Notice {
    Notice {
        id: notice.id.to_string(),
        channel: notice.channel.to_string(),
        kind: notice.kind.name().to_owned(),
        subject: notice.subject.to_string(),
        facts: Pairs(notice.facts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
        record: notice.record.map(|record| record.to_string()),
        created: timestamp(notice.created),
        attempts: notice.attempts,
        next: notice.given_up.is_none().then(|| timestamp(notice.next)),
        trouble: notice.trouble.clone(),
        given_up: notice.given_up.map(timestamp),
    }
}
