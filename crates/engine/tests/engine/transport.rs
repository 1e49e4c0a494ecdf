//! Keys that come from elsewhere and keys that go there (requirement K10).

use keyreeve_audit::Outcome;
use keyreeve_crypto::{
    KeyAlgorithm, LoadedKey, Material, Purpose, Random, Schedule as Dates, TransportPrivate, TransportPublic,
    WrappingMethod,
};
use keyreeve_engine::ops::destruction::{Destroy, Schedule};
use keyreeve_engine::ops::exports::Export;
use keyreeve_engine::ops::holds::Place;
use keyreeve_engine::ops::imports::{Destination, Import, ImportVersion, Incoming, Parameters, Reimport};
use keyreeve_engine::ops::keys::{Create, CreateSpec, Describe};
use keyreeve_engine::ops::{KeyReply, keyrings, policies, rules};
use keyreeve_engine::{Code, KeyRef, Settings};
use keyreeve_epochs::EpochVault;
use keyreeve_model::key::Origin;
use keyreeve_model::{Classification, Environment, NoticeKind, State, UnixMillis};
use keyreeve_secret::SecretBytes;
use keyreeve_store::Store;

use crate::support::{
    Checked, Council, DAY, House, Member, RootKind, VaultFault, create, incoming, key_of, keyring, label, name,
    prepared, wrapped_for,
};

const XAES: KeyAlgorithm = KeyAlgorithm::Xaes256Gcm;
const HYBRID: WrappingMethod = WrappingMethod::X25519MlKem768;

fn random() -> Random {
    Random::from_module().unwrap()
}

fn creating(algorithm: KeyAlgorithm) -> Create {
    create(algorithm).checked()
}

fn import(algorithm: KeyAlgorithm, incoming: Incoming) -> Import {
    Import { create: creating(algorithm), incoming }
}

async fn brought(house: &House, bytes: &[u8]) -> KeyReply {
    let incoming = incoming(house, &house.developer, None, bytes).await;
    house.ask(import(XAES, incoming)).await
}

/// With an end.
async fn lent(house: &House, bytes: &[u8], days: i64) -> KeyRef {
    let expires = Some(now(house).plus_days(days.try_into().unwrap()));
    let incoming = Incoming { expires, ..incoming(house, &house.developer, None, bytes).await };
    key_of(&house.ask(import(XAES, incoming)).await)
}

fn now(house: &House) -> UnixMillis {
    keyreeve_engine::Clock::now(&*house.clock)
}

async fn shown(house: &House, key: &KeyRef) -> KeyReply {
    house.ask(Describe { key: key.clone() }).await
}

#[tokio::test]
async fn material_of_every_kind_comes_in_by_every_method_that_fits_it() {
    let house = House::new().await;
    for &algorithm in KeyAlgorithm::ALL {
        for &method in WrappingMethod::ALL {
            if method == WrappingMethod::RsaOaepSha256 && algorithm.is_asymmetric() {
                continue;
            }
            if algorithm == KeyAlgorithm::Aes256GcmSiv || (method != HYBRID && algorithm.is_asymmetric()) {
                continue;
            }
            let material = Material::generate(algorithm, &random()).unwrap();
            let parameters = house.ask(prepared(None, algorithm, method)).await;
            let incoming = wrapped_for(&parameters, material.portable().expose());
            let reply = house.ask(import(algorithm, incoming)).await;
            let version = &reply.key.versions()[0];
            assert_eq!(reply.key.id(), parameters.key, "{algorithm} by {method}");
            assert_eq!(version.provenance().origin, Origin::Imported);
            assert_eq!(version.imported().unwrap().method, method);
            let public = material.public_key().unwrap().map(|public| hex::encode(public.spki()));
            assert_eq!(version.public_key(), public.as_deref());
            assert_eq!(public.is_some(), version.fingerprint() == material.fingerprint().unwrap().to_string());
        }
    }
}

#[tokio::test]
async fn an_imported_key_works_as_the_same_key_does_elsewhere() {
    let house = House::new().await;
    let bytes = [0x42; 32];
    let reply = brought(&house, &bytes).await;
    let key = key_of(&reply);
    assert_eq!(reply.state(), State::Active);
    let message = house.encrypt(&key, b"text").await;
    assert_eq!(house.decrypt(&key, &message).await, b"text");
    let here = Material::import(XAES, &SecretBytes::copy_from(&bytes)).unwrap();
    assert!(LoadedKey::load(&here, Purpose::Encrypt).is_ok());
    let record = house.records().await.into_iter().find(|record| record.operation == "key.import").unwrap();
    assert_eq!((record.details["origin"].as_str(), record.details["method"].as_str()), ("imported", HYBRID.name()));
    assert!(!format!("{record:?}").contains(&hex::encode(bytes)));
    let check = here.fingerprint().unwrap().to_string();
    assert_ne!(reply.key.versions()[0].fingerprint(), check, "what can be computed elsewhere can be guessed at");
}

#[tokio::test]
async fn an_import_is_good_once_for_one_person_one_key_and_its_time() {
    let house = House::new().await;
    let ann = house.welcome(House::person("ann", &["key-admin"])).await;
    let twice = incoming(&house, &house.developer, None, &[1; 32]).await;
    let again = Incoming { import: twice.import, wrapped: twice.wrapped.clone(), expires: None, statement: label("") };
    let other = Incoming { import: twice.import, wrapped: twice.wrapped.clone(), expires: None, statement: label("") };
    assert_eq!(house.code_for(&ann, import(XAES, other)).await, Code::NotFound, "somebody else's");
    let existing = house.aead().await;
    let other = Incoming { import: twice.import, wrapped: twice.wrapped.clone(), expires: None, statement: label("") };
    let into = ImportVersion { key: existing, incoming: other, reason: label("") };
    assert_eq!(house.code(into).await, Code::InvalidRequest, "for another key");
    let other = Incoming { import: twice.import, wrapped: twice.wrapped.clone(), expires: None, statement: label("") };
    assert_eq!(house.code(import(KeyAlgorithm::Kdk256, other)).await, Code::InvalidRequest, "for another algorithm");
    house.ask(import(XAES, twice)).await;
    assert_eq!(house.code(import(XAES, again)).await, Code::NotFound, "used");
    let late = incoming(&house, &house.developer, None, &[2; 32]).await;
    house.clock.turn(DAY);
    assert_eq!(house.code(import(XAES, late)).await, Code::NotFound, "over");
    house.pass(1).await;
    let forgotten = house.store().filed_page(
        keyreeve_model::record::Table::Imports,
        None,
        keyreeve_store::Page { after: None, limit: 10 },
    );
    assert!(forgotten.await.unwrap().is_empty(), "the wrapping keys are gone");
}

#[tokio::test]
async fn what_does_not_open_is_refused_alike_and_only_so_often() {
    let house = House::new().await;
    for &method in WrappingMethod::ALL {
        let parameters = house.ask(prepared(None, XAES, method)).await;
        let good = wrapped_for(&parameters, &[method.code(); 32]);
        let mut first = good.wrapped.clone();
        first[0] ^= 1;
        let mut last = good.wrapped.clone();
        *last.last_mut().unwrap() ^= 1;
        let short = good.wrapped[..good.wrapped.len() - 8].to_vec();
        let long = [&good.wrapped[..], &[0; 8]].concat();
        let mut texts = Vec::new();
        for wrapped in [first, last, short, long, Vec::new()] {
            let incoming = Incoming { import: good.import, wrapped, expires: None, statement: label("") };
            let refused = house.call(&house.developer, import(XAES, incoming)).await.unwrap_err();
            assert_eq!(refused.error.code(), Code::DecryptionFailed, "{method}");
            texts.push(refused.error.public().to_owned());
        }
        assert!(texts[..4].iter().all(|text| *text == texts[0]), "{texts:?}");
        assert!(texts[4].contains("last try"), "{texts:?}");
        assert_eq!(house.code(import(XAES, good)).await, Code::NotFound, "{method}: nothing is left to try");
    }
    let tries = house.records().await.into_iter().filter(|record| record.operation == "key.import");
    let failures: Vec<String> = tries.filter_map(|record| record.details.get("failures").cloned()).collect();
    assert_eq!(failures.len(), 5 * WrappingMethod::ALL.len());
}

#[tokio::test]
async fn material_that_is_not_what_it_should_be_is_refused() {
    let house = House::new().await;
    let weak = include_bytes!("../../../base/crypto/tests/data/rsa-1024.der");
    let small = include_bytes!("../../../base/crypto/tests/data/rsa-2048-exponent-3.der");
    let curve = Material::generate(KeyAlgorithm::EcP384, &random()).unwrap().portable();
    let bad: [(KeyAlgorithm, &[u8]); 6] = [
        (KeyAlgorithm::Rsa2048, weak),
        (KeyAlgorithm::Rsa2048, small),
        (KeyAlgorithm::EcP256, curve.expose()),
        (XAES, &[3; 16]),
        (XAES, &[3; 33]),
        (KeyAlgorithm::HmacSha256, &[3; 31]),
    ];
    for (algorithm, bytes) in bad {
        let parameters = house.ask(prepared(None, algorithm, HYBRID)).await;
        let code = house.code(import(algorithm, wrapped_for(&parameters, bytes))).await;
        assert_eq!(code, Code::InvalidRequest, "{algorithm}, {} bytes", bytes.len());
    }
    let of = Destination::NewKey { keyring: keyring("default"), algorithm: KeyAlgorithm::EcP256, purpose: None };
    let unfit = Parameters::new(of, WrappingMethod::RsaOaepSha256, None, 24).unwrap_err();
    assert_eq!(unfit.code(), Code::InvalidRequest);
    let of = Destination::NewKey { keyring: keyring("default"), algorithm: XAES, purpose: Some(Purpose::Sign) };
    assert_eq!(Parameters::new(of, HYBRID, None, 24).unwrap_err().code(), Code::WrongKeyUse);
    let of = Destination::NewKey { keyring: keyring("default"), algorithm: XAES, purpose: None };
    assert_eq!(Parameters::new(of, HYBRID, None, 169).unwrap_err().code(), Code::InvalidRequest);
    let past = Incoming { expires: Some(UnixMillis(1)), ..incoming(&house, &house.developer, None, &[4; 32]).await };
    assert_eq!(house.code(import(XAES, past)).await, Code::InvalidRequest);
}

#[tokio::test]
async fn the_same_material_is_in_one_key_and_one_environment_only() {
    let house = House::new().await;
    let key = key_of(&brought(&house, &[9; 32]).await);
    let second = incoming(&house, &house.developer, None, &[9; 32]).await;
    assert_eq!(house.code(import(XAES, second)).await, Code::AlreadyExists);
    let production = keyrings::Create {
        name: name("production"),
        owner: label("owner"),
        description: label(""),
        classification: Classification::Internal,
        environment: Environment::Production,
        allow_deterministic: false,
        roots: None,
    };
    house.ask(production).await;
    // As a key for something else: it is the same material all the same.
    let spec = || CreateSpec { keyring: keyring("production"), ..create(KeyAlgorithm::HmacSha256) };
    let of = Destination::NewKey { keyring: keyring("production"), algorithm: KeyAlgorithm::HmacSha256, purpose: None };
    let parameters = house.ask(Parameters::new(of, HYBRID, None, 1).unwrap()).await;
    let mac = Import { create: spec().checked(), incoming: wrapped_for(&parameters, &[9; 32]) };
    assert_eq!(house.code(mac).await, Code::AlreadyExists);
    let records = house.records().await;
    let refused = records.iter().rfind(|record| record.operation == "key.import").unwrap();
    assert_eq!(refused.details["same_as"], format!("{key} version 1"));
    assert!(matches!(refused.outcome, Outcome::Refused { .. }));
    // Nor as another version of the key itself.
    let version = incoming(&house, &house.developer, Some(&key), &[9; 32]).await;
    let version = ImportVersion { key: key.clone(), incoming: version, reason: label("") };
    assert_eq!(house.code(version).await, Code::AlreadyExists);
    // And what is destroyed does not come back under another name.
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("") }).await;
    house.clock.turn(8 * DAY);
    house.ask(Destroy { key }).await;
    let third = incoming(&house, &house.developer, None, &[9; 32]).await;
    assert_eq!(house.code(import(XAES, third)).await, Code::AlreadyExists);
}

/// With one wrapping key nobody finds out by trying what a key is: a wrong guess counts, and so does a right one that
/// is refused.
#[tokio::test]
async fn guesses_at_material_count_as_failed_tries() {
    let house = House::new().await;
    let key = key_of(&brought(&house, &[0x31; 32]).await);
    let again = |incoming| Reimport { key: key.clone(), version: None, incoming, reason: label("a guess") };
    let parameters = house.ask(prepared(Some(&key), XAES, HYBRID)).await;
    for guess in 0..5 {
        assert_eq!(house.code(again(wrapped_for(&parameters, &[guess + 1; 32]))).await, Code::InvalidRequest);
    }
    let right = house.code(again(wrapped_for(&parameters, &[0x31; 32]))).await;
    assert_eq!(right, Code::NotFound, "five tries are over");
    let parameters = house.ask(prepared(None, XAES, HYBRID)).await;
    for _ in 0..5 {
        let known = import(XAES, wrapped_for(&parameters, &[0x31; 32]));
        assert_eq!(house.code(known).await, Code::AlreadyExists);
    }
    assert_eq!(house.code(import(XAES, wrapped_for(&parameters, &[0x32; 32]))).await, Code::NotFound);
    let records = house.records().await;
    let failures = |operation: &str| {
        let of = records.iter().filter(|record| record.operation == operation);
        of.filter_map(|record| record.details.get("failures").cloned()).collect::<Vec<_>>()
    };
    assert_eq!(failures("key.reimport"), ["1", "2", "3", "4", "5"]);
    assert_eq!(failures("key.import"), ["1", "2", "3", "4", "5"]);
}

/// What a key travels under is no weaker than what the registry lets keys be.
#[tokio::test]
async fn a_wrapping_key_of_an_algorithm_whose_time_is_over_is_refused() {
    let past = Dates { no_new_keys_from: Some(1), process_only_from: Some(2), ..Dates::default() };
    let alter = |settings: &mut Settings| settings.algorithms.set_schedule(KeyAlgorithm::Rsa2048, past).unwrap();
    let house = House::with(RootKind::SealedFile, alter).await;
    let of = || Destination::NewKey { keyring: keyring("default"), algorithm: XAES, purpose: None };
    let asked = |rsa| Parameters::new(of(), WrappingMethod::RsaAesKwp, Some(rsa), 1).unwrap();
    assert_eq!(house.code(asked(KeyAlgorithm::Rsa2048)).await, Code::AlgorithmNotAllowed);
    house.ask(asked(KeyAlgorithm::Rsa3072)).await;
    let key = key_of(&house.make(exportable()).await);
    let small = TransportPrivate::generate(WrappingMethod::RsaAesKwp, Some(KeyAlgorithm::Rsa2048), &random()).unwrap();
    assert_eq!(house.code(export(&key, &small.public().unwrap())).await, Code::AlgorithmNotAllowed);
}

#[tokio::test]
async fn a_key_rotates_to_material_that_is_brought() {
    let house = House::new().await;
    let key = house.aead().await;
    let old = house.encrypt(&key, b"old").await;
    let incoming = incoming(&house, &house.developer, Some(&key), &[5; 32]).await;
    let reply = house.ask(ImportVersion { key: key.clone(), incoming, reason: label("ceremony") }).await;
    assert_eq!((reply.key.primary(), reply.key.versions()[1].provenance().origin), (2, Origin::Imported));
    assert_eq!(house.decrypt(&key, &old).await, b"old");
    let new = house.encrypt(&key, b"new").await;
    assert_eq!(house.decrypt(&key, &new).await, b"new");
}

#[tokio::test]
async fn lent_material_is_warned_of_erased_and_put_back() {
    let mut house = House::new().await;
    let neighbour = house.aead().await;
    let kept = house.encrypt(&neighbour, b"kept").await;
    let key = lent(&house, &[6; 32], 40).await;
    let message = house.encrypt(&key, b"lent").await;
    for (days, left) in [(10, "30"), (23, "7"), (6, "1")] {
        house.pass(days * DAY).await;
        let _ = house.engine().deliver(0).await;
        let told: Vec<_> = house.posts[0].taken();
        let told: Vec<_> = told.iter().filter(|notice| notice.kind == NoticeKind::MaterialEnding).collect();
        assert_eq!(told.len(), 1, "{left} days");
        assert_eq!(told[0].facts.get("days"), Some(left));
    }
    assert_eq!(house.decrypt(&key, &message).await, b"lent");
    house.clock.turn(DAY);
    // At the instant itself, before anybody erased anything.
    assert_eq!(house.code(House::decrypting(&key, &message)).await, Code::WrongState);
    let before = house.vault().list().await.unwrap();
    house.pass(1).await;
    let reply = shown(&house, &key).await;
    assert!(reply.key.versions()[0].imported().unwrap().erased.is_some());
    assert_eq!(reply.state(), State::Active, "the key stays as it is, without its material");
    assert_eq!(house.store().key_material(reply.key.id()).await.unwrap(), []);
    let after = house.vault().list().await.unwrap();
    assert!(before.iter().all(|epoch| !after.contains(epoch)), "{after:?}: its epochs are gone");
    assert_eq!(house.decrypt(&neighbour, &kept).await, b"kept");
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::WrongState);
    let record = house.records().await.into_iter().find(|record| record.operation == "key.end-material").unwrap();
    assert_eq!((record.outcome, record.details["versions"].as_str()), (Outcome::Ok, "1"));
    house.reopen().await;

    let other = incoming(&house, &house.developer, Some(&key), &[7; 32]).await;
    let put_back = |incoming| Reimport { key: key.clone(), version: None, incoming, reason: label("one more") };
    assert_eq!(house.code(put_back(other)).await, Code::InvalidRequest, "not the same");
    let same = incoming(&house, &house.developer, Some(&key), &[6; 32]).await;
    let expires = Some(now(&house).plus_days(2));
    house.ask(put_back(Incoming { expires, ..same })).await;
    assert_eq!(house.decrypt(&key, &message).await, b"lent");
    // A longer time, while it is there.
    let same = incoming(&house, &house.developer, Some(&key), &[6; 32]).await;
    house.ask(put_back(same)).await;
    house.pass(10 * DAY).await;
    assert_eq!(house.decrypt(&key, &message).await, b"lent");
    let generated = put_back(incoming(&house, &house.developer, Some(&neighbour), &[8; 32]).await);
    assert_eq!(house.code(Reimport { key: neighbour, ..generated }).await, Code::WrongState);
}

#[tokio::test]
async fn a_copy_of_the_store_does_not_bring_ended_material_back() {
    let mut house = House::new().await;
    let key = lent(&house, &[0x61; 32], 1).await;
    let message = house.encrypt(&key, b"lent").await;
    let copy = house.path().join("copy.db");
    house.sql().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    house.pass(DAY + 1).await;
    house.crash();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", house.database().display()));
    }
    std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::copy(&copy, house.database()).unwrap();
    house.settings.accept_missing_epochs = true;
    house.clock.turn(-DAY);
    house.try_reopen().await.unwrap();
    assert_eq!(house.code(House::decrypting(&key, &message)).await, Code::Tampered);
}

#[tokio::test]
async fn an_epoch_that_outlived_a_crash_is_swept() {
    let mut house = House::new().await;
    let key = lent(&house, &[0x62; 32], 1).await;
    let neighbour = house.aead().await;
    let kept = house.encrypt(&neighbour, b"kept").await;
    let old = house.vault().list().await.unwrap();
    house.vault().set(Some(VaultFault::Erase));
    house.pass(DAY + 1).await;
    assert!(shown(&house, &key).await.key.versions()[0].imported().unwrap().erased.is_some());
    house.crash();
    house.reopen().await;
    house.vault().set(None);
    house.pass(1).await;
    let left = house.vault().list().await.unwrap();
    assert!(old.iter().all(|epoch| !left.contains(epoch)), "{left:?}");
    assert_eq!(house.decrypt(&neighbour, &kept).await, b"kept");
}

#[tokio::test]
async fn a_hold_keeps_lent_material_without_letting_it_be_used() {
    let house = House::new().await;
    let key = lent(&house, &[0x63; 32], 1).await;
    let message = house.encrypt(&key, b"lent").await;
    house.ask(Place { key: key.clone(), matter: label("case 7") }).await;
    house.pass(2 * DAY).await;
    assert_eq!(house.code(House::decrypting(&key, &message)).await, Code::WrongState);
    let reply = shown(&house, &key).await;
    assert_eq!(house.store().key_material(reply.key.id()).await.unwrap().len(), 1);
}

/// Who may export, as people who run such a server would say it.
const EXPORTERS: &str = r#"
permit (principal, action in [Keyreeve::Action::"export", Keyreeve::Action::"read"], resource is Keyreeve::Key)
when { principal.name == "eve" && resource.exportable };
"#;

fn recipient(method: WrappingMethod) -> TransportPrivate {
    TransportPrivate::generate(method, None, &random()).unwrap()
}

fn export(key: &KeyRef, public: &TransportPublic) -> Export {
    Export { key: key.clone(), version: 1, recipient: public.clone(), reason: label("the bank runs it") }
}

fn exportable() -> CreateSpec {
    CreateSpec { exportable: true, ..create(XAES) }
}

async fn council_with_exporter() -> (Council, Member, KeyRef, KeyRef) {
    let council = Council::gathered().await;
    let house = &council.house;
    house.ask(policies::Put { name: name("exporters"), text: EXPORTERS.to_owned() }).await;
    let eve = Member::join(house, "eve", &[]).await;
    let (free, fixed) = (key_of(&house.make(exportable()).await), house.aead().await);
    house.call(&council.olga.who, rules::Enact).await.unwrap();
    (council, eve, free, fixed)
}

#[tokio::test]
async fn a_key_leaves_wrapped_for_whom_two_people_saw() {
    let (council, eve, key, fixed) = council_with_exporter().await;
    let house = &council.house;
    let message = house.encrypt(&key, b"text").await;
    for method in [HYBRID, WrappingMethod::RsaAesKwp, WrappingMethod::RsaOaepSha256, WrappingMethod::P384MlKem1024] {
        let private = recipient(method);
        let public = private.public().unwrap();
        assert_eq!(house.code_for(&eve.who, export(&fixed, &public)).await, Code::Denied, "the policy says which");
        let id = eve.waits(house, export(&key, &public)).await;
        let form = house.shown(id).await.proposal.request().form.clone();
        assert_eq!(form["recipient"], public.fingerprint().to_string());
        council.sue.approve(house, id).await;
        assert_eq!(house.code_for(&eve.who, export(&key, &public)).await, Code::ApprovalNeeded, "one is not two");
        council.carl.approve(house, id).await;
        let other = recipient(method).public().unwrap();
        assert_eq!(house.code_for(&eve.who, export(&key, &other)).await, Code::ApprovalNeeded, "for somebody else");
        let exported = house.call(&eve.who, export(&key, &public)).await.unwrap().reply;
        assert_eq!((exported.version, exported.recipient), (1, public.fingerprint().to_string()));
        let bytes = private.unwrap(b"", &exported.wrapped).unwrap();
        let material = Material::import(XAES, &bytes).unwrap();
        assert!(LoadedKey::load(&material, Purpose::Encrypt).is_ok());
        let record = house
            .records()
            .await
            .into_iter()
            .rfind(|record| record.operation == "key.export" && record.outcome == Outcome::Ok);
        assert_eq!(record.unwrap().details["recipient"], public.fingerprint().to_string());
        let left = shown(house, &key).await.key.departures().last().cloned().unwrap();
        assert_eq!((left.by, left.method, left.recipient), (name("eve"), method, public.fingerprint().to_string()));
    }
    assert_eq!(shown(house, &key).await.key.departures().len(), 4);
    assert_eq!(house.decrypt(&key, &message).await, b"text", "it is still here as well");
}

#[tokio::test]
async fn what_left_does_not_come_back_as_another_key() {
    let (council, eve, key, _) = council_with_exporter().await;
    let house = &council.house;
    let private = recipient(HYBRID);
    let public = private.public().unwrap();
    let id = eve.waits(house, export(&key, &public)).await;
    council.sue.approve(house, id).await;
    council.carl.approve(house, id).await;
    let exported = house.call(&eve.who, export(&key, &public)).await.unwrap().reply;
    let bytes = private.unwrap(b"", &exported.wrapped).unwrap();
    let back = incoming(house, &council.ann.who, None, bytes.expose()).await;
    assert_eq!(house.code_for(&council.ann.who, import(XAES, back)).await, Code::AlreadyExists);
}

#[tokio::test]
async fn nothing_leaves_without_rules_nor_a_key_that_was_not_made_for_it() {
    let house = House::new().await;
    let key = key_of(&house.make(exportable()).await);
    let public = recipient(HYBRID).public().unwrap();
    let refused = house.call(&house.developer, export(&key, &public)).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::OtherPersonNeeded);
    let fixed = house.aead().await;
    assert_eq!(house.code(export(&fixed, &public)).await, Code::WrongKeyUse);
    assert_eq!(house.code(Export { version: 2, ..export(&key, &public) }).await, Code::NotFound);
}

/// A rule book that asks one person, or nobody, is no way around it.
#[tokio::test]
async fn fewer_than_two_who_consent_are_not_enough_whatever_the_rules_say() {
    let (council, eve, key, _) = council_with_exporter().await;
    let house = &council.house;
    let standing = house.ask(rules::Describe).await.book.rules.to_toml();
    let text = standing.replacen("    \"key.export\",\n", "", 1);
    assert_ne!(text, standing, "{standing}");
    let lax =
        "\n[[rule]]\nname = \"lax\"\noperations = [\"key.export\", \"key.rotate\"]\nseats = [{ role = \"ciso\" }]\n";
    for (rule, asked) in [("", false), (lax, true)] {
        council.agreed(|| rules::Put { text: format!("{text}{rule}") }).await;
        let public = recipient(HYBRID).public().unwrap();
        if asked {
            let id = eve.waits(house, export(&key, &public)).await;
            council.carl.approve(house, id).await;
        }
        let refused = house.code_for(&eve.who, export(&key, &public)).await;
        assert_eq!(refused, Code::OtherPersonNeeded, "asked: {asked}");
    }
    assert!(shown(house, &key).await.key.departures().is_empty());
}

#[tokio::test]
async fn a_key_that_may_leave_is_made_with_the_consent_of_two() {
    let (council, _, _, _) = council_with_exporter().await;
    let (house, ann) = (&council.house, &council.ann);
    let make = || exportable().checked();
    let id = ann.waits(house, make()).await;
    council.sue.approve(house, id).await;
    council.carl.approve(house, id).await;
    let reply = house.call(&ann.who, make()).await.unwrap().reply;
    assert!(reply.key.exportable());
    let parameters = house.call(&ann.who, prepared(None, XAES, HYBRID)).await.unwrap().reply;
    let bring = |incoming| Import { create: make(), incoming };
    let brought = wrapped_for(&parameters, &[0x71; 32]);
    let same =
        Incoming { import: brought.import, wrapped: brought.wrapped.clone(), expires: None, statement: label("") };
    let id = ann.waits(house, bring(brought)).await;
    council.sue.approve(house, id).await;
    council.carl.approve(house, id).await;
    assert!(house.call(&ann.who, bring(same)).await.unwrap().reply.key.exportable());
}
