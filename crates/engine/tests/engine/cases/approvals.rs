//! Who must agree to what. Requests that wait exist only where rules are in force, which they never are in the house of
//! the cases: what these operations do is in `approvals.rs`.

use keyreeve_engine::ops::approvals::{Describe, Execute, List, Vote, Withdraw};
use keyreeve_engine::ops::mfa::Answer;
use keyreeve_engine::ops::rules;
use keyreeve_model::approval::Decision;
use keyreeve_model::ids::ApprovalId;
use keyreeve_secret::SecretString;

use super::{Case, SERVER};
use crate::support::label;

const NONE: ApprovalId = ApprovalId::from_bytes([7; 16]);

cases! {
    "approval.list" => |stage, who| stage.run(who, SERVER, List { state: None, after: None, limit: 10 }).await;
    "approval.describe" => |stage, who| stage.run(who, NONE, Describe { approval: NONE }).await;
    "approval.vote" => |stage, who| {
        let answer = Answer::Code { credential: None, code: SecretString::from("000000".to_owned()) };
        let (decision, digest, reason) = (Decision::Approve, "0".repeat(64), label(""));
        stage.run(who, NONE, Vote { approval: NONE, decision, digest, reason, answer }).await
    };
    "approval.withdraw" => |stage, who| stage.run(who, NONE, Withdraw { approval: NONE }).await;
    "approval.execute" => |stage, who| stage.run(who, NONE, Execute { approval: NONE }).await;
    "rules.describe" => |stage, who| stage.run(who, SERVER, rules::Describe).await;
    "rules.check" => |stage, who| stage.run(who, SERVER, rules::Check { text: RULES.to_owned() }).await;
    "rules.put" => |stage, who| stage.run(who, SERVER, rules::Put { text: RULES.to_owned() }).await;
    "governance.enact" => |stage, who| stage.run(who, SERVER, rules::Enact).await;
}

const RULES: &str = "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n";
