//! Secrets are planted through every operation that takes or gives one; none of them may be found afterwards in any
//! file of the data directory, nor in anything that was logged, in any spelling.

use base64_simd::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, Purpose, WrapMode};
use keyreeve_engine::ops::data_keys::{GenerateDataKey, NewDataKeys, UnwrapDataKey};
use keyreeve_engine::ops::keys::CreateSpec;
use keyreeve_engine::ops::signing::{Mac, MessageForm, Sign};
use keyreeve_engine::ops::system::{Seal, Unseal};
use keyreeve_engine::ops::{cipher, derivation, tokens};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::EncryptionContext;
use keyreeve_secret::SecretString;
use std::collections::HashMap;
use std::path::Path;

use crate::support::{House, RootKind, Who, captured_logs, create, key_of, label, name, payloads};

/// A secret, and what it is.
type Canary = (&'static str, Vec<u8>);

fn nothing() -> EncryptionContext {
    EncryptionContext::default()
}

/// Something nobody writes by chance.
fn canary(what: &'static str) -> Canary {
    (what, format!("canary <{what}> {what} 4be1d1f0c9a24f61").into_bytes())
}

async fn key(house: &House, algorithm: KeyAlgorithm, purpose: Purpose) -> KeyRef {
    key_of(&house.make(CreateSpec { purpose: Some(purpose), ..create(algorithm) }).await)
}

async fn use_ciphers(house: &House, planted: &mut Vec<Canary>) {
    for algorithm in [KeyAlgorithm::Xaes256Gcm, KeyAlgorithm::Aes256Gcm, KeyAlgorithm::Rsa2048] {
        let key = key(house, algorithm, Purpose::Encrypt).await;
        let plaintext = canary("plaintext");
        let ciphertext = house.encrypt(&key, &plaintext.1).await;
        house.decrypt(&key, &ciphertext).await;
        let mut wrong = House::decrypting(&key, &ciphertext);
        wrong.context = crate::support::context(&[("wrong", "context")]);
        assert_eq!(house.code(wrong).await, Code::DecryptionFailed);
        let rewrap = cipher::Rewrap { key, context: nothing(), items: [ciphertext].into() };
        house.ask(rewrap).await;
        planted.push(plaintext);
    }
    let key = key(house, KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).await;
    let wanted = NewDataKeys { key: key.clone(), context: nothing(), bytes: 32, count: 2 };
    for made in house.ask(GenerateDataKey(wanted)).await.items {
        planted.push(("data key", made.plaintext.unwrap().expose().to_vec()));
        let unwrap = UnwrapDataKey { key: key.clone(), context: nothing(), items: [made.wrapped].into() };
        house.ask(unwrap).await;
    }
    // Refused requests carry secrets as well.
    let refused = canary("refused plaintext");
    assert_eq!(house.code_for(&Who::Nobody, House::encrypting(&key, &refused.1)).await, Code::Unauthenticated);
    assert_eq!(house.code(House::encrypting(&"absent".parse().unwrap(), &refused.1)).await, Code::NotFound);
    planted.push(refused);
}

async fn use_secrets(house: &House, planted: &mut Vec<Canary>) {
    let wrapping = key(house, KeyAlgorithm::Aes256Kw, Purpose::Wrap).await;
    let theirs = canary("a caller's key");
    let wrap = derivation::Wrap { key: wrapping.clone(), mode: WrapMode::Kwp, items: payloads(&[&theirs.1]) };
    let wrapped = house.ask(wrap).await.items.remove(0).unwrap();
    let items = [wrapped].into();
    house.ask(derivation::Unwrap { key: wrapping, version: None, mode: WrapMode::Kwp, items }).await;
    planted.push(theirs);
    let deriving = key(house, KeyAlgorithm::Kdk256, Purpose::Derive).await;
    let derivation =
        derivation::Derivation::Hkdf { hash: HashAlgorithm::Sha256, salt: Vec::new(), info: b"i".to_vec() };
    let derived = house.ask(derivation::Derive { key: deriving, version: None, derivation, bytes: 32 }).await;
    planted.push(("derived key", derived.secret.expose().to_vec()));
    let kem = key(house, KeyAlgorithm::MlKem768, Purpose::Encapsulate).await;
    let shared = house.ask(derivation::Encapsulate { key: kem.clone() }).await;
    planted.push(("encapsulated secret", shared.secret.expose().to_vec()));
    house.ask(derivation::Decapsulate { key: kem, version: None, ciphertext: shared.ciphertext }).await;
    let agreeing = house.make(CreateSpec { purpose: Some(Purpose::Agree), ..create(KeyAlgorithm::X25519) }).await;
    let peer = hex::decode(agreeing.key.version(1).unwrap().public_key().unwrap()).unwrap();
    let agree = derivation::Agree {
        key: key_of(&agreeing),
        version: None,
        peer,
        hash: HashAlgorithm::Sha256,
        salt: Vec::new(),
        info: Vec::new(),
        bytes: 32,
    };
    planted.push(("agreed key", house.ask(agree).await.secret.expose().to_vec()));
    let random = house.ask(derivation::GenerateRandom { bytes: 48 }).await.0;
    planted.push(("random bytes", random.expose().to_vec()));
}

async fn sign(house: &House, planted: &mut Vec<Canary>) {
    let message = canary("message");
    let signing = key(house, KeyAlgorithm::EcP256, Purpose::Sign).await;
    let items = payloads(&[&message.1]);
    house.ask(Sign { key: signing, scheme: None, form: MessageForm::Raw, items }).await;
    let mac = key(house, KeyAlgorithm::HmacSha256, Purpose::Mac).await;
    house.ask(Mac { key: mac, items: payloads(&[&message.1]) }).await;
    planted.push(message);
}

async fn come_in(house: &House, planted: &mut Vec<Canary>) {
    let create = tokens::Create {
        principal: name("developer"),
        seconds: 600,
        description: label("t"),
        networks: Default::default(),
    };
    let issued = house.retry(&house.developer, "token-1", create).await.unwrap().reply.token;
    let mut token = issued.expose().to_owned();
    planted.push(("token", secret_part(&token)));
    planted.push(("first token", secret_part(house.developer.token())));
    token.replace_range(token.len() - 1.., if token.ends_with('0') { "1" } else { "0" });
    let near = Who::Bearer(SecretString::from(token.clone()));
    assert_eq!(house.code_for(&near, tokens::WhoAmI).await, Code::Unauthenticated);
    planted.push(("wrong token", secret_part(&token)));
}

fn secret_part(token: &str) -> Vec<u8> {
    token.rsplit_once('_').unwrap().1.as_bytes().to_vec()
}

/// The ways in which bytes may have been written. Of base64 the middle part, which stands wherever the bytes begin.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec(), hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()];
    if let Ok(raw) = hex::decode(bytes) {
        all.push(raw);
    }
    for skipped in 0..3 {
        let whole = &bytes[skipped..];
        let whole = &whole[..whole.len() / 3 * 3];
        all.push(STANDARD_NO_PAD.encode_to_string(whole).into_bytes());
        all.push(URL_SAFE_NO_PAD.encode_to_string(whole).into_bytes());
    }
    let listed: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    all.push(listed.join(", ").into_bytes());
    all
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Every file below a directory, with its bytes.
fn files(directory: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// Drops the zeros at the end, of which the journal's segments are full.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |place| place + 1);
    bytes.truncate(end);
    bytes
}

/// Looks for all needles in one pass, by their first bytes.
fn find<'a>(hay: &[u8], needles: &'a HashMap<[u8; 8], Vec<(&'static str, Vec<u8>)>>) -> Option<&'a str> {
    hay.windows(8).enumerate().find_map(|(place, window)| {
        let start: &[u8; 8] = window.try_into().unwrap();
        let begun = needles.get(start)?;
        begun.iter().find(|(_, needle)| hay[place..].starts_with(needle)).map(|(what, _)| *what)
    })
}

fn search(house: &House, planted: &[Canary]) {
    let mut places = vec![("the log".to_owned(), captured_logs())];
    files(house.path(), &mut places);
    assert!(places.len() > 5, "there are files to search");
    let mut needles: HashMap<[u8; 8], Vec<(&'static str, Vec<u8>)>> = HashMap::new();
    for (what, bytes) in planted {
        for spelling in spellings(bytes) {
            assert!(spelling.len() >= 24, "{what}: too short to be told from chance");
            needles.entry(spelling[..8].try_into().unwrap()).or_default().push((what, spelling));
        }
    }
    for (place, bytes) in places {
        let found = find(&trimmed(bytes), &needles);
        assert_eq!(found, None, "stands in {place}");
    }
}

#[tokio::test]
async fn no_secret_is_left_in_any_file_or_log_line() {
    let mut house = House::with(RootKind::Shamir(3, 2), |_| {}).await;
    let mut planted: Vec<Canary> =
        house.shares.iter().map(|share| ("share", share.expose().as_bytes().to_vec())).collect();
    use_ciphers(&house, &mut planted).await;
    use_secrets(&house, &mut planted).await;
    sign(&house, &mut planted).await;
    come_in(&house, &mut planted).await;
    house.ask(Seal).await;
    let wrong = house.shares[0].expose().replace(char::is_numeric, "7");
    house.call(&Who::Nobody, Unseal { share: SecretString::from(wrong.clone()) }).await.unwrap_err();
    planted.push(("wrong share", wrong.into_bytes()));
    house.unseal().await;
    house.journal_flush().await;
    search(&house, &planted);
    house.reopen().await;
    house.unseal().await;
    search(&house, &planted);
    tracing::warn!("a canary that is logged: {}", "canary <logged> 4be1d1f0c9a24f61");
    assert!(contains(&captured_logs(), b"canary <logged> 4be1d1f0c9a24f61"), "the search sees the log");
}

/// The search itself is tried on what must be found.
#[tokio::test]
async fn the_search_finds_what_is_there() {
    let house = House::new().await;
    house.ask(House::putting("found-by-the-search-4be1d1f0c9a24f61", &[])).await;
    let mut places = Vec::new();
    files(house.path(), &mut places);
    let hits = places.iter().filter(|(_, bytes)| contains(bytes, b"found-by-the-search-4be1d1f0c9a24f61")).count();
    assert!(hits >= 2, "in the database and in the journal");
}
