//! Damage, in a house where nothing is: the tests of integrity have some.

use keyreeve_engine::ops::integrity;
use keyreeve_model::quarantine::Place;
use keyreeve_model::record::Table;

use super::{Case, SERVER, reason};

fn nothing() -> Place {
    Place::row(Table::Grants, &[9; 16])
}

cases! {
    "integrity.status" => |stage, who| stage.run(who, SERVER, integrity::Status).await;
    "integrity.list" => |stage, who| {
        stage.run(who, SERVER, integrity::List { released: true, after: None, limit: 10 }).await
    };
    "integrity.describe" => |stage, who| stage.run(who, SERVER, integrity::Describe { place: nothing() }).await;
    "integrity.scan" => |stage, who| {
        // One at a time: that of a case before comes to its end first.
        stage.house.engine().work_on_jobs().await.unwrap();
        stage.run(who, SERVER, integrity::Scan { pace: 0, reason: reason() }).await
    };
    "integrity.release" => |stage, who| {
        stage.run(who, SERVER, integrity::Release { place: nothing(), discard: false, reason: reason() }).await
    };
}
