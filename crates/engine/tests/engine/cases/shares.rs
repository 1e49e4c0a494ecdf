//! Shares of roots of trust. The root of the house has none, so all of it is refused to those who may.

use keyreeve_engine::ops::shares::{Abandon, Challenge, Commit, Give, Holders, NameHolder, Reshare, Show, VerifyShare};
use keyreeve_model::holders::{Person, ShareProof, ShareSetId};
use keyreeve_secret::SecretString;

use super::{Case, SERVER, reason};
use crate::support::name;

cases! {
    "root.holders" => |stage, who| stage.run(who, SERVER, Holders { root: None }).await;
    "root.name-holder" => |stage, who| {
        let (organisation, contact) = Default::default();
        let person = Person { name: name("alice"), organisation, contact };
        stage.run(who, SERVER, NameHolder { root: None, share: 1, person }).await
    };
    "root.challenge" => |stage, who| stage.run(who, SERVER, Challenge { root: None }).await;
    "root.verify-share" => |stage, who| {
        let proof = ShareProof { set: ShareSetId([7; 16]), share: 1, signature: [7; 64] };
        stage.run(who, SERVER, VerifyShare { root: None, proof }).await
    };
    "root.reshare" => |stage, who| {
        let reshare = Reshare { root: None, threshold: 2, holders: Vec::new(), reason: reason() };
        stage.run(who, SERVER, reshare).await
    };
    "root.reshare-give" => |stage, who| {
        stage.run(who, SERVER, Give { root: None, share: SecretString::copy_from("share"), exchange: None }).await
    };
    "root.reshare-show" => |stage, who| stage.run(who, SERVER, Show { root: None }).await;
    "root.reshare-commit" => |stage, who| {
        stage.run(who, SERVER, Commit { root: None, confirmed: Default::default() }).await
    };
    "root.reshare-abandon" => |stage, who| stage.run(who, SERVER, Abandon { root: None, reason: reason() }).await;
}
