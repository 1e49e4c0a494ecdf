//! A root of trust in shares: initialisation, opening, sealing.

use keyreeve_engine::catalogue::{self, Needs};
use keyreeve_engine::ops::keys::{self, KeyQuery};
use keyreeve_engine::ops::system::{Health, Init, Seal, Status, Unseal};
use keyreeve_engine::ops::{audit, data_keys, derivation, keyrings, policies, principals, tokens};
use keyreeve_engine::{Code, SealStatus, Settings};
use keyreeve_model::EncryptionContext;
use keyreeve_secret::SecretString;
use keyreeve_store::faulty::CommitFault;

use crate::cases::mfa::{enrol, start};
use crate::support::{Checked, House, RootKind, Who, create, keyring, name};

const FIVE_THREE: RootKind = RootKind::Shamir(5, 3);

async fn house() -> House {
    House::with(FIVE_THREE, |_| {}).await
}

fn share(text: &SecretString) -> Unseal {
    Unseal { share: text.duplicate() }
}

async fn status(house: &House) -> SealStatus {
    house.call(&Who::Nobody, Status).await.unwrap().reply.root
}

fn sealed(given: u8) -> SealStatus {
    SealStatus::Sealed { given, threshold: 3, shares: 5 }
}

#[tokio::test]
async fn a_new_house_is_initialised_once_and_gives_its_shares_once() {
    let mut house = House::empty(FIVE_THREE, |_| {}).await;
    assert_eq!(status(&house).await, SealStatus::NotInitialised { people: true });
    let reply = house.init().await.unwrap();
    assert_eq!(reply.shares.len(), 5);
    house.move_in(reply);
    assert_eq!(status(&house).await, SealStatus::Open);
    let again = house.init().await.unwrap_err();
    assert_eq!(again.error.code(), Code::WrongState);
    assert!(house.engine().is_open());
    house.aead().await;
    house.reopen().await;
    assert_eq!(house.init().await.unwrap_err().error.code(), Code::WrongState, "nor after a restart");
    house.unseal().await;
    let records = house.records().await;
    let inits: Vec<_> = records.iter().filter(|record| record.operation == "system.init").collect();
    assert_eq!(
        inits.iter().map(|record| record.outcome.code()).collect::<Vec<_>>(),
        [None, Some("wrong-state"), Some("wrong-state")]
    );
    assert_eq!((&*inits[0].details["shares"], &*inits[0].details["threshold"]), ("5", "3"));
    house.verify_log().await;
}

#[tokio::test]
async fn of_two_initialisations_at_once_one_wins() {
    let house = House::empty(FIVE_THREE, |_| {}).await;
    let (one, two) = futures::join!(house.init(), house.init());
    assert_ne!(one.is_ok(), two.is_ok());
    let loser = one.err().or(two.err()).unwrap();
    assert_eq!(loser.error.code(), Code::WrongState);
    assert!(house.engine().is_open());
}

#[tokio::test]
async fn impossible_numbers_of_shares_are_refused_and_leave_nothing() {
    let house = House::empty(FIVE_THREE, |_| {}).await;
    for (shares, threshold) in [(0, 0), (3, 4), (3, 1), (33, 3)] {
        let refused = house.call(&Who::Nobody, Init { shares, threshold, holders: Vec::new() }).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::InvalidRequest, "{threshold} of {shares}");
    }
    house.init().await.unwrap();
}

#[tokio::test]
async fn an_initialisation_that_did_not_reach_the_store_can_be_begun_anew_after_a_restart() {
    let mut house = House::empty(FIVE_THREE, |_| {}).await;
    house.store().fail_next_commit(CommitFault::Failed);
    assert_eq!(house.init().await.unwrap_err().error.code(), Code::StoreUnavailable);
    assert!(!house.engine().is_open());
    house.reopen().await;
    let reply = house.init().await.unwrap();
    house.move_in(reply);
    house.aead().await;
    house.reopen().await;
    house.unseal().await;
    house.verify_log().await;
}

#[tokio::test]
async fn after_a_restart_shares_are_told_apart_and_counted() {
    let mut house = house().await;
    let other = self::house().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"kept").await;
    house.reopen().await;
    assert_eq!(status(&house).await, sealed(0));
    let refused = async |text: &SecretString| {
        let refused = house.call(&Who::Nobody, share(text)).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::InvalidShare);
        refused.error.public().to_owned()
    };
    let first = house.call(&Who::Nobody, share(&house.shares[4])).await.unwrap();
    assert_eq!(first.reply.root, sealed(1));
    let mut misspelt = house.shares[0].expose().to_owned();
    let last = misspelt.pop().unwrap();
    misspelt.push(if last == 'a' { 'b' } else { 'a' });
    assert!(refused(&SecretString::from(misspelt)).await.contains("not a share"));
    assert!(refused(&other.shares[0]).await.contains("another set"));
    assert!(refused(&house.shares[4]).await.contains("given already"));
    assert_eq!(status(&house).await, sealed(1), "what was right is not forgotten");
    house.call(&Who::Nobody, share(&house.shares[0])).await.unwrap();
    let last = house.call(&Who::Nobody, share(&house.shares[2])).await.unwrap();
    assert_eq!(last.reply.root, SealStatus::Open);
    assert!(house.engine().readiness().await.is_ready());
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"kept");
    let records = house.records().await;
    let shares: Vec<_> = records.iter().filter(|record| record.operation == "system.unseal").collect();
    let codes: Vec<_> = shares.iter().map(|record| record.outcome.code()).collect();
    let invalid = Some("invalid-share");
    assert_eq!(codes, [None, invalid, invalid, invalid, None, None]);
    assert_eq!(shares[0].details["given"], "1");
    assert_eq!(shares[5].details["opened"], "true");
    house.verify_log().await;
}

/// The code with which each of these is refused: one operation of every kind.
macro_rules! codes {
    ($house:expr, $($operation:expr),+ $(,)?) => {
        [$($house.call(&$house.developer, $operation).await.err().map(|refused| refused.error.code())),+]
    };
}

async fn refused_while_sealed(house: &House) {
    let key = || "orders".parse().unwrap();
    let wanted = || data_keys::NewDataKeys { key: key(), context: EncryptionContext::default(), bytes: 32, count: 1 };
    let codes = codes![
        house,
        House::encrypting(&key(), b"x"),
        House::decrypting(&key(), b"x"),
        data_keys::GenerateDataKey(wanted()),
        keys::Describe { key: key() },
        keys::List { query: KeyQuery::default(), after: None, limit: 1 },
        keys::ListAlgorithms,
        create(keyreeve_crypto::KeyAlgorithm::Xaes256Gcm).checked(),
        keyrings::Describe { keyring: keyring("default") },
        derivation::GenerateRandom { bytes: 1 },
        tokens::WhoAmI,
        tokens::List { after: None, limit: 1 },
        principals::Delete { name: name("developer") },
        House::putting("pat", &[]),
        policies::Describe { name: name("self") },
        audit::Read { file: audit::LogFile::Checkpoint },
        Seal,
    ];
    assert!(codes.iter().all(|code| *code == Some(Code::Sealed)), "{codes:?}");
    house.call(&Who::Nobody, Health).await.unwrap();
    house.call(&Who::Nobody, Status).await.unwrap();
    assert!(!house.engine().readiness().await.is_ready());
}

#[tokio::test]
async fn a_sealed_house_does_nothing_but_say_so_and_take_shares() {
    let always: Vec<&str> =
        catalogue::ALL.iter().filter(|row| row.needs == Needs::Nothing).map(|row| row.name).collect();
    let expected =
        ["system.health", "system.status", "system.metrics", "request.refuse", "system.init", "system.unseal"];
    assert_eq!(always, expected);
    let mut house = house().await;
    house.reopen().await;
    refused_while_sealed(&house).await;
    house.pass(60_000).await;
    house.unseal().await;
    let records = house.records().await;
    let refusals = records.iter().filter(|record| record.outcome.code() == Some("sealed")).count();
    assert_eq!(refusals, 16, "refusals of a sealed server are recorded too");
    house.verify_log().await;
}

#[tokio::test]
async fn sealing_wipes_and_shares_open_again() {
    let house = house().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"kept").await;
    house.ask(Seal).await;
    assert!(!house.engine().is_open());
    assert_eq!(status(&house).await, sealed(0));
    refused_while_sealed(&house).await;
    house.unseal().await;
    let reads = house.store().reads();
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"kept");
    assert!(house.store().reads() > reads, "the key came from the store again, not from memory");
    let open_already = house.call(&Who::Nobody, share(&house.shares[0])).await.unwrap_err();
    assert_eq!(open_already.error.code(), Code::WrongState);
    house.verify_log().await;
}

#[tokio::test]
async fn only_some_shares_of_many_are_needed_whichever_they_are() {
    let mut house = house().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"kept").await;
    for chosen in [[0, 1, 2], [4, 3, 2], [1, 4, 0]] {
        house.reopen().await;
        for place in chosen {
            house.call(&Who::Nobody, share(&house.shares[place])).await.unwrap();
        }
        assert_eq!(house.decrypt(&key, &ciphertext).await, b"kept", "{chosen:?}");
    }
}

#[tokio::test]
async fn in_production_the_first_principal_administers_access_and_uses_no_key() {
    let house = House::with(FIVE_THREE, |settings| *settings = Settings::default()).await;
    let operator = &house.developer;
    let who = house.call(operator, tokens::WhoAmI).await.unwrap().reply;
    assert_eq!((who.principal.as_str(), &who.roles[..]), ("operator", &["operator".to_owned()][..]));
    let make = create(keyreeve_crypto::KeyAlgorithm::Xaes256Gcm).checked();
    assert_eq!(house.code_for(operator, make).await, Code::Denied);
    // With a second factor, which nobody has to invite to here: nobody could.
    let keeper = || House::putting("keeper", &["key-admin"]);
    assert_eq!(house.code_for(operator, keeper()).await, Code::MfaNeeded);
    assert!(enrol(&house, operator, start()).await.is_some());
    house.call(operator, keeper()).await.unwrap();
    // The next one is invited.
    let keeper = house.token_for("keeper").await;
    assert!(enrol(&house, &keeper, start()).await.is_none());
}

#[tokio::test]
async fn a_protocol_learns_whether_the_credential_was_accepted() {
    let house = House::new().await;
    let garbage = Who::Bearer(SecretString::copy_from("garbage"));
    let proven = async |who: &Who| {
        let arrival = House::arrival(who);
        let proof = arrival.proof.clone();
        let done = house.engine().call(arrival, Status).await.is_ok();
        (done, proof.is_accepted())
    };
    assert_eq!(proven(&house.developer).await, (true, true));
    assert_eq!(proven(&garbage).await, (false, false));
    assert_eq!(proven(&Who::Nobody).await, (true, false));
    house.ask(Seal).await;
    for who in [&house.developer, &garbage, &Who::Nobody] {
        assert_eq!(proven(who).await, (true, false), "a sealed server knows nobody");
    }
}
