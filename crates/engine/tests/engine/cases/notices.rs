//! Telling people.

use keyreeve_engine::ops::notices;

use super::{Case, SERVER};

cases! {
    "notice.list" => |stage, who| stage.run(who, SERVER, notices::List { after: None, limit: 5 }).await;
    "notice.test" => |stage, who| stage.run(who, SERVER, notices::Test { channel: None }).await;
}
