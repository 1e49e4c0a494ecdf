//! Going through who has which right.

use keyreeve_engine::ops::access_report::Report;

use super::{Case, SERVER};

cases! {
    "access.report" => |stage, who| {
        stage.run(who, SERVER, Report { principal: None, key: None, after: None, limit: 10 }).await
    };
}
