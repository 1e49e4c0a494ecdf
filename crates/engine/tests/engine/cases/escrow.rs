//! Escrow, in a house where nobody set it up: what needs an escrow key is refused to those who may.

use keyreeve_engine::ops::escrow::{
    AbandonRecovery, AcceptKey, Deposit, Deposits, Describe, Give, HandInRehearsal, MakeKey, OpenCampaign, Recover,
    RecoverSpec, SetPolicy, ShowRecovery, VerifyShare,
};
use keyreeve_engine::ops::shares::HolderSpec;
use keyreeve_model::holders::{Person, ShareProof, ShareSetId};
use keyreeve_model::ids::RecoveryId;
use keyreeve_secret::SecretString;

use super::{Case, SERVER, reason};
use crate::support::name;

const RECIPIENTS: [&str; 2] = [
    "age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a",
    "age1hqcy8w9krzlq4ncqpux8pvemvp6n0jjlm5xc0szm87xhe8gv7vfqqdntux",
];

fn agent((called, key): (&str, &str)) -> HolderSpec {
    let (organisation, contact) = Default::default();
    let person = Person { name: name(called), organisation, contact };
    HolderSpec { person, key: key.to_owned(), fingerprint: key.to_owned() }
}

fn recovery() -> RecoveryId {
    RecoveryId::from_bytes([7; 16])
}

cases! {
    "escrow.describe" => |stage, who| stage.run(who, SERVER, Describe).await;
    "escrow.set-policy" => |stage, who| {
        stage.run(who, SERVER, SetPolicy { rules: Vec::new(), reason: reason() }).await
    };
    "escrow.make-key" => |stage, who| {
        let agents = ["alice", "bob"].into_iter().zip(RECIPIENTS).map(agent).collect();
        stage.run(who, SERVER, MakeKey { threshold: 2, agents, reason: reason() }).await
    };
    "escrow.accept-key" => |stage, who| {
        stage.run(who, SERVER, AcceptKey { confirmed: Default::default() }).await
    };
    "escrow.verify-share" => |stage, who| {
        let proof = ShareProof { set: ShareSetId([7; 16]), share: 1, signature: [7; 64] };
        stage.run(who, SERVER, VerifyShare { proof }).await
    };
    "escrow.open-campaign" => |stage, who| stage.run(who, SERVER, OpenCampaign).await;
    "escrow.hand-in-rehearsal" => |stage, who| {
        stage.run(who, SERVER, HandInRehearsal { number: 1, answer: [7; 32] }).await
    };
    "escrow.deposit" => |stage, who| stage.run(who, &stage.aead, Deposit { key: stage.aead.clone() }).await;
    "escrow.deposits" => |stage, who| {
        stage.run(who, SERVER, Deposits { key: None, after: None, limit: 10 }).await
    };
    "escrow.recover" => |stage, who| {
        let spec = RecoverSpec { key: stage.aead.clone(), version: 1, recipient: None, reason: reason() };
        stage.run(who, &stage.aead, Recover(spec)).await
    };
    "escrow.give-share" => |stage, who| {
        let give = Give { recovery: recovery(), share: SecretString::copy_from("share") };
        stage.run(who, SERVER, give).await
    };
    "escrow.recovery" => |stage, who| stage.run(who, SERVER, ShowRecovery { recovery: recovery() }).await;
    "escrow.abandon-recovery" => |stage, who| {
        stage.run(who, SERVER, AbandonRecovery { recovery: recovery(), reason: reason() }).await
    };
}
