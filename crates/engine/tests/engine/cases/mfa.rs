//! Second factors.

use keyreeve_engine::ops::mfa;
use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::TotpAlgorithm;
use keyreeve_secret::SecretString;

use super::{Case, SERVER, Stage};
use crate::support::{Authenticator, House, Who, label, name};

/// A factor that is nobody's.
const NOBODYS: MfaId = MfaId::from_bytes([9; 16]);

pub(crate) fn start() -> mfa::TotpStart {
    mfa::TotpStart { label: label("phone"), algorithm: TotpAlgorithm::Sha1, invitation: None }
}

/// A code of a seed, at the house's time.
pub(crate) fn code(house: &House, seed: &str) -> SecretString {
    let seed = data_encoding::BASE32_NOPAD.decode(seed.as_bytes()).unwrap();
    let step = totp::step(keyreeve_engine::Clock::now(&*house.clock)).unwrap();
    totp::code(&seed, TotpHash::Sha1, step)
}

/// Enrols codes by time, where somebody may; the factor and its seed.
pub(crate) async fn enrol(house: &House, who: &Who, start: mfa::TotpStart) -> Option<(MfaId, String)> {
    let started = house.call(who, start).await.ok()?.reply;
    let seed = started.seed.expose().to_owned();
    let finish = mfa::TotpFinish { credential: started.credential, code: code(house, &seed) };
    match house.call(who, finish).await.unwrap().reply {
        mfa::Answered::Right(_) => Some((started.credential, seed)),
        mfa::Answered::Wrong(error) => panic!("{error}"),
    }
}

/// Somebody who may have a factor has one, and showed it just now; its seed.
async fn fresh(stage: &Stage, who: &Who) -> Option<String> {
    let known = stage.seeds.lock().unwrap().get(who.token()).cloned();
    let Some(seed) = known else {
        let (_, seed) = enrol(&stage.house, who, start()).await?;
        stage.seeds.lock().unwrap().insert(who.token().to_owned(), seed.clone());
        return Some(seed);
    };
    // The last code was used.
    stage.house.clock.turn(60_000);
    let answer = mfa::Answer::Code { credential: None, code: code(&stage.house, &seed) };
    let answered = stage.house.call(who, mfa::Verify { answer }).await.unwrap().reply;
    assert!(matches!(answered, mfa::Answered::Right(_)), "{answered:?}");
    stage.house.clock.turn(60_000);
    Some(seed)
}

async fn registered(stage: &Stage, who: &Who) -> Option<MfaId> {
    fresh(stage, who).await?;
    let asked = stage.house.call(who, mfa::WebAuthnStart { invitation: None }).await.ok()?.reply;
    Some(stage.house.call(who, Authenticator::new().make(&asked)).await.unwrap().reply.id)
}

async fn somebody(stage: &Stage) -> String {
    let put = House::putting(&stage.fresh_name("person"), &[]);
    let name = put.name.to_string();
    stage.house.ask(put).await;
    name
}

cases! {
    "mfa.status" => |stage, who| stage.run(who, SERVER, mfa::Status).await;
    "mfa.totp-start" => |stage, who| {
        fresh(stage, who).await;
        stage.run(who, SERVER, start()).await
    };
    "mfa.totp-finish" => |stage, who| {
        fresh(stage, who).await;
        let finish = match stage.house.call(who, start()).await {
            Ok(done) => {
                let code = code(&stage.house, done.reply.seed.expose());
                mfa::TotpFinish { credential: done.reply.credential, code }
            }
            Err(_) => mfa::TotpFinish { credential: NOBODYS, code: SecretString::copy_from("000000") },
        };
        stage.run(who, SERVER, finish).await
    };
    "mfa.webauthn-start" => |stage, who| {
        fresh(stage, who).await;
        stage.run(who, SERVER, mfa::WebAuthnStart { invitation: None }).await
    };
    "mfa.webauthn-finish" => |stage, who| {
        fresh(stage, who).await;
        let finish = match stage.house.call(who, mfa::WebAuthnStart { invitation: None }).await {
            Ok(done) => Authenticator::new().make(&done.reply),
            Err(_) => mfa::WebAuthnFinish {
                challenge: NOBODYS,
                label: label("key"),
                client_data: Vec::new(),
                attestation: Vec::new(),
                transports: Default::default(),
            },
        };
        stage.run(who, SERVER, finish).await
    };
    "mfa.challenge" => |stage, who| {
        registered(stage, who).await;
        stage.run(who, SERVER, mfa::NewChallenge { purpose: mfa::ChallengeFor::StepUp }).await
    };
    "mfa.verify" => |stage, who| {
        let code = match fresh(stage, who).await {
            Some(seed) => {
                stage.house.clock.turn(60_000);
                code(&stage.house, &seed)
            }
            None => SecretString::copy_from("000000"),
        };
        stage.run(who, SERVER, mfa::Verify { answer: mfa::Answer::Code { credential: None, code } }).await
    };
    "mfa.recovery-codes" => |stage, who| {
        fresh(stage, who).await;
        stage.run(who, SERVER, mfa::RecoveryCodes).await
    };
    "mfa.remove" => |stage, who| {
        let credential = registered(stage, who).await.unwrap_or(NOBODYS);
        stage.run(who, SERVER, mfa::Remove { credential }).await
    };
    "mfa.invite" => |stage, who| {
        let person = somebody(stage).await;
        stage.run(who, &person, mfa::Invite { principal: name(&person), seconds: 3600 }).await
    };
    "mfa.reset" => |stage, who| {
        let person = somebody(stage).await;
        stage.run(who, &person, mfa::Reset { principal: name(&person) }).await
    };
    "mfa.list" => |stage, who| {
        stage.run(who, "developer", mfa::List { principal: name("developer") }).await
    };
}
