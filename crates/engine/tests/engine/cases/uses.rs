//! Keys: their use.

use keyreeve_crypto::{HashAlgorithm, WrapMode};
use keyreeve_engine::ops::signing::{Claim, Mac, MessageForm, Sign, Verify, VerifyMac};
use keyreeve_engine::ops::{Payload, cipher, data_keys, derivation};

use super::{Case, Stage, nothing};
use crate::support::{House, context, payloads};

cases! {
    "key.encrypt" => |stage, who| stage.run(who, &stage.aead, House::encrypting(&stage.aead, b"text")).await;
    "key.decrypt" => |stage, who| {
        stage.run(who, &stage.aead, House::decrypting(&stage.aead, &stage.ciphertext)).await
    };
    "key.re-encrypt-from" => |stage, who| {
        let moved = cipher::ReEncrypt {
            from: stage.aead.clone(),
            to: stage.other.clone(),
            from_context: nothing(),
            to_context: context(&[("to", "other")]),
            items: [stage.ciphertext.clone()].into(),
        };
        stage.run(who, &stage.aead, moved).await
    };
    "key.rewrap" => |stage, who| {
        let items = [stage.ciphertext.clone()].into();
        let rewrap = cipher::Rewrap { key: stage.aead.clone(), context: nothing(), items };
        stage.run(who, &stage.aead, rewrap).await
    };
    "key.generate-data-key" => |stage, who| {
        let wanted = data_keys::NewDataKeys { key: stage.aead.clone(), context: nothing(), bytes: 32, count: 1 };
        stage.run(who, &stage.aead, data_keys::GenerateDataKey(wanted)).await
    };
    "key.generate-data-key-without-plaintext" => |stage, who| {
        let wanted = data_keys::NewDataKeys { key: stage.aead.clone(), context: nothing(), bytes: 32, count: 1 };
        stage.run(who, &stage.aead, data_keys::GenerateDataKeyWithoutPlaintext(wanted)).await
    };
    "key.unwrap-data-key" => |stage, who| {
        let wanted = data_keys::NewDataKeys { key: stage.aead.clone(), context: nothing(), bytes: 32, count: 1 };
        let wrapped = stage.house.ask(data_keys::GenerateDataKey(wanted)).await.items.remove(0).wrapped;
        let unwrap = data_keys::UnwrapDataKey { key: stage.aead.clone(), context: nothing(), items: [wrapped].into() };
        stage.run(who, &stage.aead, unwrap).await
    };
    "key.sign" => |stage, who| stage.run(who, &stage.signing, signing(stage)).await;
    "key.verify" => |stage, who| {
        let proof = stage.house.ask(signing(stage)).await.items.remove(0).unwrap();
        let items = [Claim { message: Payload::from(b"text".to_vec()), proof }].into();
        let verify = Verify { key: stage.signing.clone(), version: None, scheme: None, form: MessageForm::Raw, items };
        stage.run(who, &stage.signing, verify).await
    };
    "key.mac" => |stage, who| {
        stage.run(who, &stage.mac, Mac { key: stage.mac.clone(), items: payloads(&[b"text"]) }).await
    };
    "key.verify-mac" => |stage, who| {
        let mac = Mac { key: stage.mac.clone(), items: payloads(&[b"text"]) };
        let proof = stage.house.ask(mac).await.items.remove(0).unwrap();
        let items = [Claim { message: Payload::from(b"text".to_vec()), proof }].into();
        stage.run(who, &stage.mac, VerifyMac { key: stage.mac.clone(), version: None, items }).await
    };
    "key.derive" => |stage, who| {
        let (salt, info) = (Vec::new(), b"use".to_vec());
        let derivation = derivation::Derivation::Hkdf { hash: HashAlgorithm::Sha256, salt, info };
        let derive = derivation::Derive { key: stage.deriving.clone(), version: None, derivation, bytes: 32 };
        stage.run(who, &stage.deriving, derive).await
    };
    "key.wrap" => |stage, who| stage.run(who, &stage.wrapping, wrapping(stage)).await;
    "key.unwrap" => |stage, who| {
        let wrapped = stage.house.ask(wrapping(stage)).await.items.remove(0).unwrap();
        let (key, items) = (stage.wrapping.clone(), [wrapped].into());
        let unwrap = derivation::Unwrap { key, version: None, mode: WrapMode::Kw, items };
        stage.run(who, &stage.wrapping, unwrap).await
    };
    "key.encapsulate" => |stage, who| {
        stage.run(who, &stage.kem, derivation::Encapsulate { key: stage.kem.clone() }).await
    };
    "key.decapsulate" => |stage, who| {
        let ciphertext = stage.house.ask(derivation::Encapsulate { key: stage.kem.clone() }).await.ciphertext;
        stage.run(who, &stage.kem, derivation::Decapsulate { key: stage.kem.clone(), version: None, ciphertext }).await
    };
    "key.agree" => |stage, who| {
        let agree = derivation::Agree {
            key: stage.agreeing.clone(),
            version: None,
            peer: stage.peer.clone(),
            hash: HashAlgorithm::Sha256,
            salt: Vec::new(),
            info: b"use".to_vec(),
            bytes: 32,
        };
        stage.run(who, &stage.agreeing, agree).await
    };
}

fn signing(stage: &Stage) -> Sign {
    Sign { key: stage.signing.clone(), scheme: None, form: MessageForm::Raw, items: payloads(&[b"text"]) }
}

fn wrapping(stage: &Stage) -> derivation::Wrap {
    derivation::Wrap { key: stage.wrapping.clone(), mode: WrapMode::Kw, items: payloads(&[&[7; 32]]) }
}
