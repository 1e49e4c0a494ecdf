//! Keyrings and keys: their life.

use keyreeve_crypto::{KeyAlgorithm, Purpose, Random, TransportPrivate, WrappingMethod};
use keyreeve_engine::ops::exports::Export;
use keyreeve_engine::ops::imports::{Destination, Import, ImportVersion, Parameters, Reimport};
use keyreeve_engine::ops::{destruction, keyrings, keys, lifecycle};
use keyreeve_model::{Classification, Environment};

use super::{Case, SERVER, Stage, reason, spec};
use crate::support::{Checked, DAY, incoming, key_of, keyring, label, name};

/// Material that no other key has.
fn unique(stage: &Stage) -> Vec<u8> {
    keyreeve_crypto::digest::sha256(stage.fresh_name("material").as_bytes()).to_vec()
}

fn recipient() -> TransportPrivate {
    TransportPrivate::generate(WrappingMethod::X25519MlKem768, None, &Random::from_module().unwrap()).unwrap()
}

cases! {
    "keyring.create" => |stage, who| {
        let made = keyrings::Create {
            name: name(&stage.fresh_name("ring")),
            owner: label("owner"),
            description: label(""),
            classification: Classification::Internal,
            environment: Environment::Staging,
            allow_deterministic: false,
            roots: None,
        };
        stage.run(who, "", made).await
    };
    "keyring.list" => |stage, who| stage.run(who, SERVER, keyrings::List { after: None, limit: 10 }).await;
    "keyring.describe" => |stage, who| {
        stage.run(who, "", keyrings::Describe { keyring: keyring("default") }).await
    };
    "key.create" => |stage, who| {
        stage.run(who, "", spec(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).checked()).await
    };
    "key.list" => |stage, who| {
        stage.run(who, SERVER, keys::List { query: keys::KeyQuery::default(), after: None, limit: 3 }).await
    };
    "key.describe" => |stage, who| stage.run(who, &stage.aead, keys::Describe { key: stage.aead.clone() }).await;
    "key.update" => |stage, who| {
        let patch = keys::MetadataPatch { owner: Some(label("new")), ..keys::MetadataPatch::default() };
        let key = stage.fresh().await;
        stage.run(who, &key, keys::Update { key: key.clone(), patch }).await
    };
    "key.activate" => |stage, who| {
        let key = stage.fresh().await;
        let halt = lifecycle::Suspend { key: key.clone(), risk_accepted: false, reason: reason() };
        stage.house.ask(halt).await;
        stage.run(who, &key, lifecycle::Activate { key: key.clone(), reason: reason() }).await
    };
    "key.suspend" => |stage, who| {
        let key = stage.fresh().await;
        let halt = lifecycle::Suspend { key: key.clone(), risk_accepted: false, reason: reason() };
        stage.run(who, &key, halt).await
    };
    "key.deactivate" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, &key, lifecycle::Deactivate { key: key.clone(), reason: reason() }).await
    };
    "key.compromise" => |stage, who| {
        let key = stage.fresh().await;
        let known =
            lifecycle::Compromise { key: key.clone(), version: None, risk_accepted: false, reason: reason() };
        stage.run(who, &key, known).await
    };
    "key.rotate" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, &key, lifecycle::Rotate { key: key.clone(), reason: reason() }).await
    };
    "key.import-parameters" => |stage, who| {
        let of = Destination::NewKey {
            keyring: keyring("default"),
            algorithm: KeyAlgorithm::Xaes256Gcm,
            purpose: None,
        };
        stage.run(who, "", Parameters::new(of, WrappingMethod::X25519MlKem768, None, 24).unwrap()).await
    };
    "key.import" => |stage, who| {
        let create = spec(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).checked();
        let incoming = incoming(&stage.house, who, None, &unique(stage)).await;
        stage.run(who, "", Import { create, incoming }).await
    };
    "key.import-version" => |stage, who| {
        let key = stage.fresh().await;
        let incoming = incoming(&stage.house, who, Some(&key), &unique(stage)).await;
        stage.run(who, &key, ImportVersion { key: key.clone(), incoming, reason: reason() }).await
    };
    "key.reimport" => |stage, who| {
        let bytes = unique(stage);
        let brought = incoming(&stage.house, &stage.house.developer, None, &bytes).await;
        let create = spec(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).checked();
        let key = key_of(&stage.house.ask(Import { create, incoming: brought }).await);
        let incoming = incoming(&stage.house, who, Some(&key), &bytes).await;
        stage.run(who, &key, Reimport { key: key.clone(), version: None, incoming, reason: reason() }).await
    };
    "key.export" => |stage, who| {
        let exportable = keys::CreateSpec { exportable: true, ..spec(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt) };
        let key = key_of(&stage.house.make(exportable).await);
        let recipient = recipient().public().unwrap();
        stage.run(who, &key, Export { key: key.clone(), version: 1, recipient, reason: reason() }).await
    };
    "key.schedule-destruction" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, &key, destruction::Schedule { key: key.clone(), days: 7, reason: reason() }).await
    };
    "key.cancel-destruction" => |stage, who| {
        let key = stage.scheduled().await;
        stage.run(who, &key, destruction::Cancel { key: key.clone(), reason: reason() }).await
    };
    "key.destroy" => |stage, who| {
        let key = stage.scheduled().await;
        stage.house.clock.turn(8 * DAY);
        stage.run(who, &key, destruction::Destroy { key: key.clone() }).await
    };
    "key.destruction" => |stage, who| {
        let key = stage.scheduled().await;
        stage.house.clock.turn(8 * DAY);
        stage.house.ask(destruction::Destroy { key: key.clone() }).await;
        stage.run(who, &key, destruction::DescribeDestruction { key: key.clone() }).await
    };
}
