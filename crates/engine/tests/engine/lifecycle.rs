//! Keys over time: dates, states, rotation, and what each key may do.

use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_engine::ops::cipher::{Encrypt, Rewrap};
use keyreeve_engine::ops::data_keys::{GenerateDataKey, NewDataKeys, UnwrapDataKey};
use keyreeve_engine::ops::keys::{self, Create, CreateSpec, MetadataPatch};
use keyreeve_engine::ops::lifecycle::{Activate, Compromise, Deactivate, Rotate, Suspend};
use keyreeve_engine::ops::signing::{Claim, Mac, MessageForm, Sign, Verify};
use keyreeve_engine::ops::{Payload, SetPatch, derivation, keyrings};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::ciphertext::Header;
use keyreeve_model::key::{Activation, Scope};
use keyreeve_model::{Classification, EncryptionContext, Environment, Profile, State, UnixMillis};
use std::sync::Arc;

use crate::support::{
    Checked, DAY, House, RootKind, START, context, create, forge_key, key_of, keyring, label, name, payloads,
};

const XAES: KeyAlgorithm = KeyAlgorithm::Xaes256Gcm;

fn nothing() -> EncryptionContext {
    EncryptionContext::default()
}

async fn rotate(house: &House, key: &KeyRef) -> u32 {
    house.ask(Rotate { key: key.clone(), reason: label("due") }).await.key.primary()
}

async fn suspend(house: &House, key: &KeyRef, risk_accepted: bool) {
    house.ask(Suspend { key: key.clone(), risk_accepted, reason: label("doubt") }).await;
}

async fn activate(house: &House, key: &KeyRef) {
    house.ask(Activate { key: key.clone(), reason: label("fine") }).await;
}

async fn state(house: &House, key: &KeyRef) -> State {
    house.ask(keys::Describe { key: key.clone() }).await.state()
}

#[tokio::test]
async fn dates_alone_activate_and_deactivate_a_key() {
    let house = House::new().await;
    let at = |days: i64| UnixMillis(START.0 + days * DAY);
    let spec = CreateSpec { activation: Activation::At(at(10)), deactivates: Some(at(100)), ..create(XAES) };
    let key = key_of(&house.make(spec).await);
    assert_eq!(state(&house, &key).await, State::PreActivation);
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    house.clock.turn(10 * DAY - 1);
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    house.clock.turn(1);
    let ciphertext = house.encrypt(&key, b"within the period").await;
    assert_eq!(state(&house, &key).await, State::Active);
    house.clock.turn(90 * DAY);
    assert_eq!(state(&house, &key).await, State::Deactivated);
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"within the period");
    let listed = |state| keys::KeyQuery { state: Some(state), ..keys::KeyQuery::default() };
    let list = |state| keys::List { query: listed(state), after: None, limit: 10 };
    assert_eq!(
        house.ask(list(State::Deactivated)).await.items.len(),
        1,
        "lists go by the state of now, not of the row"
    );
    assert_eq!(house.ask(list(State::PreActivation)).await.items.len(), 0);
}

#[tokio::test]
async fn a_key_can_wait_to_be_activated_by_a_person() {
    let house = House::new().await;
    let key = key_of(&house.make(CreateSpec { activation: Activation::OnRequest, ..create(XAES) }).await);
    house.clock.turn(200 * DAY);
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    activate(&house, &key).await;
    house.encrypt(&key, b"x").await;
    assert_eq!(house.code(Activate { key, reason: label("again") }).await, Code::WrongState);
}

#[tokio::test]
async fn dates_in_the_wrong_order_are_refused() {
    let house = House::new().await;
    for (activation, ends) in [(Activation::Now, START.0), (Activation::At(UnixMillis(START.0 + 2)), START.0 + 1)] {
        let spec = CreateSpec { activation, deactivates: Some(UnixMillis(ends)), ..create(XAES) };
        assert_eq!(house.code(spec.checked()).await, Code::InvalidRequest);
    }
}

#[tokio::test]
async fn a_suspension_halts_all_use_and_lifting_it_restores_it() {
    let house = House::new().await;
    let key = house.aead().await;
    let old = house.encrypt(&key, b"old").await;
    rotate(&house, &key).await;
    suspend(&house, &key, false).await;
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    assert_eq!(house.code(House::decrypting(&key, &old)).await, Code::WrongState, "older versions too");
    activate(&house, &key).await;
    assert_eq!(house.decrypt(&key, &old).await, b"old");
    suspend(&house, &key, true).await;
    assert_eq!(house.decrypt(&key, &old).await, b"old", "the risk of processing was accepted");
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
}

#[tokio::test]
async fn a_compromised_version_is_replaced_and_its_data_read_only_at_accepted_risk() {
    let house = House::new().await;
    let key = house.aead().await;
    let (first, _) = (house.encrypt(&key, b"first").await, rotate(&house, &key).await);
    let second = house.encrypt(&key, b"second").await;
    let known = |version, risk_accepted| Compromise { key: key.clone(), version, risk_accepted, reason: label("leak") };
    house.ask(known(Some(2), false)).await;
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    assert_eq!(house.code(House::decrypting(&key, &second)).await, Code::WrongState);
    assert_eq!(house.decrypt(&key, &first).await, b"first", "the other version is not concerned");
    assert_eq!(rotate(&house, &key).await, 3);
    house.encrypt(&key, b"x").await;
    assert_eq!(house.code(House::decrypting(&key, &second)).await, Code::WrongState);
    assert_eq!(house.code(known(Some(2), false)).await, Code::WrongState, "it is compromised already");
    house.ask(known(Some(2), true)).await;
    assert_eq!(house.decrypt(&key, &second).await, b"second", "somebody accepted the risk");
    house.encrypt(&key, b"x").await;
    house.ask(known(None, true)).await;
    assert_eq!(house.decrypt(&key, &second).await, b"second");
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState, "never for new data");
    assert_eq!(house.code(known(Some(9), false)).await, Code::NotFound);
}

#[tokio::test]
async fn rotation_keeps_every_older_ciphertext_readable_across_restarts() {
    let mut house = House::new().await;
    let key = house.aead().await;
    let mut kept = Vec::new();
    for version in 1..=6u32 {
        let text = format!("of version {version}").into_bytes();
        let ciphertext = house.encrypt(&key, &text).await;
        assert_eq!(Header::decode(&ciphertext).unwrap().0.version, version);
        kept.push((ciphertext, text));
        assert_eq!(rotate(&house, &key).await, version + 1);
        if version % 2 == 0 {
            house.reopen().await;
        }
    }
    for (ciphertext, text) in &kept {
        assert_eq!(&house.decrypt(&key, ciphertext).await, text);
    }
    let items: Arc<[Vec<u8>]> = kept.iter().map(|(ciphertext, _)| ciphertext.clone()).collect();
    let newest = house.ask(Rewrap { key: key.clone(), context: nothing(), items }).await;
    assert_eq!(newest.version, 7);
    for (item, (_, text)) in newest.items.into_iter().zip(&kept) {
        let item = item.unwrap();
        assert_eq!(Header::decode(&item).unwrap().0.version, 7);
        assert_eq!(&house.decrypt(&key, &item).await, text);
    }
}

#[tokio::test]
async fn revision_6_rotates_without_a_deactivated_state() {
    let house = House::with(RootKind::SealedFile, |settings| settings.profile = Profile::Rev6).await;
    let key = house.aead().await;
    let old = house.encrypt(&key, b"old").await;
    rotate(&house, &key).await;
    assert_eq!(house.decrypt(&key, &old).await, b"old");
    assert_eq!(house.code(Deactivate { key: key.clone(), reason: label("x") }).await, Code::WrongState);
}

#[tokio::test]
async fn a_scope_is_kept_to() {
    let house = House::new().await;
    let scoped = |algorithm, scope| CreateSpec { scope, ..create(algorithm) };
    let encrypt_only = key_of(&house.make(scoped(XAES, Scope::ApplyOnly)).await);
    let ciphertext = house.encrypt(&encrypt_only, b"x").await;
    assert_eq!(house.code(House::decrypting(&encrypt_only, &ciphertext)).await, Code::WrongKeyUse);
    let items = [ciphertext].into();
    let rewrap = Rewrap { key: encrypt_only.clone(), context: nothing(), items };
    assert_eq!(house.code(rewrap).await, Code::WrongKeyUse, "rewrapping decrypts");
    let decrypt_only = key_of(&house.make(scoped(XAES, Scope::ProcessOnly)).await);
    assert_eq!(house.code(House::encrypting(&decrypt_only, b"x")).await, Code::WrongKeyUse);
    let sign_only = key_of(&house.make(scoped(KeyAlgorithm::Ed25519, Scope::ApplyOnly)).await);
    let sign = Sign { key: sign_only.clone(), scheme: None, form: MessageForm::Raw, items: payloads(&[b"m"]) };
    let proof = house.ask(sign).await.items.remove(0).unwrap();
    let items = [Claim { message: Payload::from(b"m".to_vec()), proof }].into();
    let verify = Verify { key: sign_only, version: None, scheme: None, form: MessageForm::Raw, items };
    assert_eq!(house.code(verify).await, Code::WrongKeyUse);
}

#[tokio::test]
async fn a_key_serves_its_one_purpose() {
    let house = House::new().await;
    let made = [
        (XAES, Purpose::Encrypt),
        (KeyAlgorithm::HmacSha256, Purpose::Mac),
        (KeyAlgorithm::EcP256, Purpose::Sign),
        (KeyAlgorithm::EcP256, Purpose::Agree),
        (KeyAlgorithm::Aes256Kw, Purpose::Wrap),
        (KeyAlgorithm::Kdk256, Purpose::Derive),
        (KeyAlgorithm::MlKem768, Purpose::Encapsulate),
    ];
    for (algorithm, purpose) in made {
        let key = key_of(&house.make(CreateSpec { purpose: Some(purpose), ..create(algorithm) }).await);
        let sign = Sign { key: key.clone(), scheme: None, form: MessageForm::Raw, items: payloads(&[b"m"]) };
        let mac = Mac { key: key.clone(), items: payloads(&[b"m"]) };
        let wrap =
            derivation::Wrap { key: key.clone(), mode: keyreeve_crypto::WrapMode::Kwp, items: payloads(&[b"k"]) };
        let outcomes = [
            (Purpose::Encrypt, house.call(&house.developer, House::encrypting(&key, b"x")).await.err()),
            (Purpose::Sign, house.call(&house.developer, sign).await.err()),
            (Purpose::Mac, house.call(&house.developer, mac).await.err()),
            (Purpose::Wrap, house.call(&house.developer, wrap).await.err()),
            (Purpose::Encapsulate, house.call(&house.developer, derivation::Encapsulate { key }).await.err()),
        ];
        for (tried, refused) in outcomes {
            let code = refused.map(|refused| refused.error.code());
            let expected = (tried != purpose).then_some(Code::WrongKeyUse);
            assert_eq!(code, expected, "{algorithm} for {purpose}, tried to {tried}");
        }
    }
    let wrong = Create::new(CreateSpec { purpose: Some(Purpose::Sign), ..create(XAES) });
    assert_eq!(wrong.unwrap_err().code(), Code::WrongKeyUse);
}

async fn ring(house: &House, text: &str, classification: Classification, environment: Environment, siv: bool) {
    let made = keyrings::Create {
        name: name(text),
        owner: label(""),
        description: label(""),
        classification,
        environment,
        allow_deterministic: siv,
        roots: None,
    };
    house.ask(made).await;
}

#[tokio::test]
async fn environments_and_classes_are_walls() {
    let house = House::new().await;
    ring(&house, "live", Classification::Internal, Environment::Production, false).await;
    let spec = || CreateSpec { keyring: keyring("live"), ..create(XAES) };
    let foreign = CreateSpec { environment: Some(Environment::Development), ..spec() };
    assert_eq!(house.code(foreign.checked()).await, Code::InvalidRequest);
    let mut secret = spec();
    secret.metadata.classification = Classification::Restricted;
    assert_eq!(house.code(secret.checked()).await, Code::InvalidRequest);
    let made = house.make(CreateSpec { environment: Some(Environment::Production), ..spec() }).await;
    assert_eq!(made.key.metadata.environment, Environment::Production);
    let patch = MetadataPatch { classification: Some(Classification::Confidential), ..MetadataPatch::default() };
    assert_eq!(house.code(keys::Update { key: key_of(&made), patch }).await, Code::InvalidRequest);
    assert_eq!(house.code(CreateSpec { keyring: keyring("none"), ..spec() }.checked()).await, Code::NotFound);
}

#[tokio::test]
async fn deterministic_encryption_takes_a_keyring_that_allows_it_and_a_reason() {
    let house = House::new().await;
    ring(&house, "index", Classification::Internal, Environment::Development, true).await;
    let siv = |ring: &str, reason: Option<&str>| CreateSpec {
        keyring: keyring(ring),
        deterministic_reason: reason.map(label),
        ..create(KeyAlgorithm::Aes256GcmSiv)
    };
    assert_eq!(house.code(siv("default", Some("index")).checked()).await, Code::AlgorithmNotAllowed);
    assert_eq!(house.code(siv("index", None).checked()).await, Code::InvalidRequest);
    assert_eq!(house.code(siv("index", Some("")).checked()).await, Code::InvalidRequest);
    let key = key_of(&house.make(siv("index", Some("equality search"))).await);
    assert_eq!(house.encrypt(&key, b"same").await, house.encrypt(&key, b"same").await);
    let bound = Encrypt { key: key.clone(), context: context(&[("a", "b")]), items: payloads(&[b"same"]) };
    let other = house.ask(bound).await.items.remove(0).unwrap();
    assert_ne!(other, house.encrypt(&key, b"same").await, "another context, another ciphertext");
}

#[tokio::test]
async fn ciphertexts_are_bound_to_key_context_and_kind() {
    let house = House::new().await;
    let (key, other) = (house.aead().await, house.aead().await);
    let bound = Encrypt { key: key.clone(), context: context(&[("tenant", "a")]), items: payloads(&[b"text"]) };
    let ciphertext = house.ask(bound).await.items.remove(0).unwrap();
    let reading = |key: &KeyRef, context: EncryptionContext, item: &[u8]| {
        let mut decrypt = House::decrypting(key, item);
        decrypt.context = context;
        decrypt
    };
    assert_eq!(house.code(reading(&key, nothing(), &ciphertext)).await, Code::DecryptionFailed);
    assert_eq!(house.code(reading(&key, context(&[("tenant", "b")]), &ciphertext)).await, Code::DecryptionFailed);
    assert_eq!(house.code(reading(&other, context(&[("tenant", "a")]), &ciphertext)).await, Code::InvalidCiphertext);
    let mut moved = ciphertext.clone();
    let KeyRef::Id(id) = &other else { panic!("an id") };
    moved[5..21].copy_from_slice(id.as_bytes());
    assert_eq!(house.code(reading(&other, context(&[("tenant", "a")]), &moved)).await, Code::DecryptionFailed);
    for place in [25, ciphertext.len() - 1] {
        let mut bad = ciphertext.clone();
        bad[place] ^= 1;
        assert_eq!(house.code(reading(&key, context(&[("tenant", "a")]), &bad)).await, Code::DecryptionFailed);
    }
    assert_eq!(house.code(reading(&key, nothing(), b"KR")).await, Code::InvalidCiphertext);
    let unwrap = UnwrapDataKey { key: key.clone(), context: context(&[("tenant", "a")]), items: [ciphertext].into() };
    assert_eq!(house.code(unwrap).await, Code::InvalidCiphertext, "data does not open as a data key");
}

#[tokio::test]
async fn data_keys_come_back_and_are_committed_to_their_key() {
    let house = House::new().await;
    let key = house.aead().await;
    let wanted = NewDataKeys { key: key.clone(), context: context(&[("f", "1")]), bytes: 64, count: 3 };
    let made = house.ask(GenerateDataKey(wanted)).await.items;
    let items: Arc<[Vec<u8>]> = made.iter().map(|one| one.wrapped.clone()).collect();
    let unwrap = |items| UnwrapDataKey { key: key.clone(), context: context(&[("f", "1")]), items };
    let back = house.ask(unwrap(Arc::clone(&items))).await.items;
    for (made, back) in made.iter().zip(back) {
        assert_eq!(made.plaintext.as_ref().unwrap().expose(), back.unwrap().1.expose());
    }
    let mut bad = items[0].clone();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(house.code(unwrap([bad].into())).await, Code::DecryptionFailed, "the commitment is checked");
    for bytes in [0, 16, 31, 33, 65] {
        let wanted = NewDataKeys { key: key.clone(), context: nothing(), bytes, count: 1 };
        assert_eq!(house.code(GenerateDataKey(wanted)).await, Code::InvalidRequest, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_batch_answers_for_each_item_and_is_one_record() {
    let house = House::new().await;
    let key = house.aead().await;
    let good = house.encrypt(&key, b"good").await;
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let mut decrypt = House::decrypting(&key, &good);
    decrypt.items = [good.clone(), bad, b"junk".to_vec(), good].into();
    let items = house.ask(decrypt).await.items;
    let codes: Vec<_> = items.iter().map(|item| item.as_ref().err().map(|error| error.code())).collect();
    assert_eq!(codes, [None, Some(Code::DecryptionFailed), Some(Code::InvalidCiphertext), None]);
    let record = house.records().await.pop().unwrap();
    assert_eq!((record.operation.as_str(), record.count), ("key.decrypt", 4));
    assert_eq!(record.details["failed_items"], "2");
    assert_eq!(record.details["first_failure"], "decryption-failed");
    let many = vec![&b"x"[..]; 1001];
    let batch = |items: &[&[u8]]| Encrypt { key: key.clone(), context: nothing(), items: payloads(items) };
    assert_eq!(house.code(batch(&[])).await, Code::InvalidRequest);
    assert_eq!(house.code(batch(&many)).await, Code::TooLarge);
}

#[tokio::test]
async fn aliases_lead_to_one_key_and_can_move() {
    let house = House::new().await;
    let (first, second) = (house.aead().await, house.aead().await);
    let aliased = |key: &KeyRef, aliases: &[&str]| {
        let aliases = SetPatch::Replace(aliases.iter().map(|alias| name(alias)).collect());
        keys::Update { key: key.clone(), patch: MetadataPatch { aliases, ..MetadataPatch::default() } }
    };
    let orders: KeyRef = "orders".parse().unwrap();
    assert_eq!(house.code(House::encrypting(&orders, b"x")).await, Code::NotFound);
    house.ask(aliased(&first, &["orders", "old"])).await;
    let ciphertext = house.encrypt(&orders, b"x").await;
    assert_eq!(house.decrypt(&first, &ciphertext).await, b"x");
    assert_eq!(house.code(aliased(&second, &["orders"])).await, Code::AlreadyExists);
    house.ask(aliased(&first, &["old"])).await;
    assert_eq!(house.code(House::encrypting(&orders, b"x")).await, Code::NotFound);
    house.ask(aliased(&second, &["orders"])).await;
    let ciphertext = house.encrypt(&orders, b"y").await;
    assert_eq!(house.decrypt(&second, &ciphertext).await, b"y");
}

const BLOCK: u64 = 1 << 20;

async fn reserved(house: &House, key: &KeyRef) -> u64 {
    let described = house.ask(keys::Describe { key: key.clone() }).await;
    described.key.version(described.key.primary()).unwrap().reserved_messages()
}

#[tokio::test]
async fn messages_under_a_limited_key_are_counted_in_blocks_and_never_under_counted() {
    let mut house = House::new().await;
    let key = key_of(&house.make(create(KeyAlgorithm::Aes256Gcm)).await);
    assert_eq!(reserved(&house, &key).await, 0);
    let commits = house.store().commits();
    for _ in 0..20 {
        house.encrypt(&key, b"x").await;
    }
    assert_eq!(reserved(&house, &key).await, BLOCK);
    assert_eq!(house.store().commits() - commits, 1, "one reservation for many messages");
    house.reopen().await;
    assert_eq!(reserved(&house, &key).await, BLOCK);
    house.encrypt(&key, b"x").await;
    assert_eq!(reserved(&house, &key).await, 2 * BLOCK, "what was left of the block counts as used");
    let unlimited = house.aead().await;
    house.encrypt(&unlimited, b"x").await;
    assert_eq!(reserved(&house, &unlimited).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_at_once_never_protect_more_than_is_reserved() {
    let house = Arc::new(House::new().await);
    let key = key_of(&house.make(create(KeyAlgorithm::ChaCha20Poly1305)).await);
    let tasks: Vec<_> = (0..32u8)
        .map(|number| {
            let (house, key) = (Arc::clone(&house), key.clone());
            tokio::spawn(async move { house.encrypt(&key, &[number]).await })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let ciphertext = task.await.unwrap();
        assert_eq!(house.decrypt(&key, &ciphertext).await, [number as u8]);
    }
    let reserved = reserved(&house, &key).await;
    assert!(reserved >= BLOCK && reserved.is_multiple_of(BLOCK), "whole blocks, one or more where several raced");
}

#[tokio::test]
async fn at_the_limit_a_key_protects_nothing_more_until_it_is_rotated() {
    let mut house = House::new().await;
    let made = house.make(create(KeyAlgorithm::Aes256Gcm)).await;
    let key = key_of(&made);
    let used = (1u64 << 32) - 3;
    house.crash();
    let raise = |record: String| {
        let altered = record.replacen("\"reserved_messages\":0", &format!("\"reserved_messages\":{used}"), 1);
        assert_ne!(altered, record);
        altered
    };
    forge_key(&house, made.key.id(), raise).await;
    house.reopen().await;
    assert_eq!(reserved(&house, &key).await, used);
    let four = Encrypt { key: key.clone(), context: nothing(), items: payloads(&[b"1", b"2", b"3", b"4"]) };
    assert_eq!(house.code(four).await, Code::WrongState);
    let two = Encrypt { key: key.clone(), context: nothing(), items: payloads(&[b"1", b"2"]) };
    assert_eq!(house.ask(two).await.items.len(), 2);
    let last = house.encrypt(&key, b"3").await;
    assert_eq!(house.code(House::encrypting(&key, b"4")).await, Code::WrongState);
    assert_eq!(reserved(&house, &key).await, 1 << 32);
    assert_eq!(house.decrypt(&key, &last).await, b"3", "reading goes on");
    rotate(&house, &key).await;
    house.encrypt(&key, b"4").await;
    assert_eq!(reserved(&house, &key).await, BLOCK);
}
