//! What somebody could do who holds the root of trust and the database: seal a record that the server believes. Used to
//! reach states that take years or billions of messages otherwise; everybody else's forgeries are refused.

use keyreeve_crypto::HashAlgorithm;
use keyreeve_crypto::Random;
use keyreeve_crypto::kdf::hkdf_sha256;
use keyreeve_crypto::mac::MacKey;
use keyreeve_model::access::{MfaKind, MfaProof, SESSION_MAX, Session};
use keyreeve_model::roots::Parts;
use keyreeve_model::{DeploymentRecord, KeyId, TokenId, TokenRecord, UnixMillis, Wrapped};
use keyreeve_root::Root;
use keyreeve_root_software::SealedFileRoot;
use rusqlite::params;
use std::collections::BTreeSet;

use super::House;

/// Alters a key's stored record and seals it anew. The house must not be running.
pub(crate) async fn forge_key(house: &House, key: KeyId, alter: impl FnOnce(String) -> String) {
    forge(house, "keys", key.as_bytes(), alter).await;
}

/// Lets a token come from a login with a second factor that was shown just now. The house must not be running.
pub(crate) async fn forge_session(house: &House, token: TokenId, now: UnixMillis) {
    let session = Session {
        login: "token".parse().unwrap(),
        edition: 0,
        subject_sha256: String::new(),
        credential: None,
        roles: BTreeSet::new(),
        authenticated: now,
        mfa: Some(MfaProof { at: now, kind: MfaKind::Totp, credential: None }),
        renew_until: now.plus(SESSION_MAX),
        ttl_seconds: 3600,
    };
    let with_session = |record: String| {
        let mut record: TokenRecord = serde_json::from_str(&record).unwrap();
        record.session = Some(session);
        serde_json::to_string(&record).unwrap()
    };
    forge(house, "tokens", token.as_bytes(), with_session).await;
}

async fn forge(house: &House, table: &str, id: &[u8; 16], alter: impl FnOnce(String) -> String) {
    let db = house.sql();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
    let select = format!("SELECT record, revision FROM {table} WHERE id = ?1");
    let (record, revision) = db.query_row(&select, [id], row).unwrap();
    let record = alter(String::from_utf8(record).unwrap()).into_bytes();
    let mut input = Vec::new();
    for part in [table.as_bytes(), id] {
        input.extend_from_slice(&(part.len() as u64).to_be_bytes());
        input.extend_from_slice(part);
    }
    input.extend_from_slice(&revision.to_be_bytes());
    input.extend_from_slice(&record);
    let mac = records_key(house).await.mac(&input);
    let update = format!("UPDATE {table} SET record = ?1, mac = ?2 WHERE id = ?3");
    db.execute(&update, params![record, mac, id]).unwrap();
}

async fn records_key(house: &House) -> MacKey {
    let bytes: Vec<u8> = house.sql().query_row("SELECT record FROM deployment", [], |row| row.get(0)).unwrap();
    let deployment: DeploymentRecord = serde_json::from_slice(&bytes).unwrap();
    let root = SealedFileRoot::new(house.path().join("root.key"), Random::from_module().unwrap());
    root.configure(&deployment.roots()["main"].public).await.unwrap();
    let context = [b"keyreeve/system/1".as_slice(), deployment.id.as_bytes()].concat();
    let Wrapped::Under(Parts { parts, .. }) = &deployment.system_secret else { panic!("not of this version") };
    let secret = root.unwrap(&context, &hex::decode(&parts["main"]).unwrap()).await.unwrap();
    let key = hkdf_sha256::<32>(secret.expose(), &[], b"keyreeve/records/1").unwrap();
    MacKey::new(HashAlgorithm::Sha256, key.expose())
}
