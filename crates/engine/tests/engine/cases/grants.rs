//! Rights for a time.

use keyreeve_engine::ops::grants::{self, Wanted};

use super::{Case, SERVER, Stage, reason};
use crate::support::{House, name};

/// A grant on a key to somebody new.
async fn create(stage: &Stage) -> grants::Create {
    let put = House::putting(&stage.fresh_name("grantee"), &[]);
    let principal = put.name.clone();
    stage.house.ask(put).await;
    let what = Wanted::Key { key: stage.aead.clone(), operations: [name("key.decrypt")].into() };
    grants::Create { principal, what, constraints: Default::default(), not_before: None, seconds: 60, reason: reason() }
}

cases! {
    "grant.create" => |stage, who| stage.run(who, "", create(stage).await).await;
    "grant.request" => |stage, who| {
        let request = grants::Create { principal: name("developer"), ..create(stage).await };
        stage.run(who, "", grants::Request { request }).await
    };
    "grant.revoke" => |stage, who| {
        let grant = stage.house.ask(create(stage).await).await.record.id;
        stage.run(who, grant, grants::Revoke { grant, reason: reason() }).await
    };
    "grant.list" => |stage, who| {
        let list = grants::List { principal: None, key: None, standing: true, after: None, limit: 10 };
        stage.run(who, SERVER, list).await
    };
    "grant.describe" => |stage, who| {
        let grant = stage.house.ask(create(stage).await).await.record.id;
        stage.run(who, grant, grants::Describe { grant }).await
    };
    "grant.self" => |stage, who| stage.run(who, SERVER, grants::Mine).await;
}
