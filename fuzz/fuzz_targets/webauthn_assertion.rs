//! What browsers and authenticators answer to a request to sign: authenticator data and keys, and client data.
#![no_main]

use keyreeve_identity::webauthn::{Assertion, Known, Relying, assert as asserted};
use libfuzzer_sys::fuzz_target;

const CHALLENGE: [u8; 32] = [0; 32];
const CLIENT_DATA: &[u8] =
    br#"{"type":"webauthn.get","challenge":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","origin":"https://example.org"}"#;

/// Three parts behind their lengths: key, signature, authenticator data.
fn parts(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[key, signature], rest) = data.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(key))?;
    let (signature, rest) = rest.split_at_checked(usize::from(signature))?;
    Some((key, signature, rest))
}

fuzz_target!(|data: &[u8]| {
    let origins = ["https://example.org".to_owned()];
    let relying = Relying { id: "example.org", origins: &origins };
    let Some((cose_key, signature, auth_data)) = parts(data) else { return };
    let known = Known { cose_key, sign_count: 7, backup_eligible: false };
    let answer = Assertion { client_data: CLIENT_DATA, auth_data, signature };
    if let Ok(now) = asserted(&relying, &CHALLENGE, &known, &answer) {
        assert_eq!(auth_data.get(32).map(|flags| flags & 0x5d), Some(0x05), "present and verified, and no copies");
        assert!(now.sign_count > known.sign_count);
    }
    let other = Assertion { client_data: data, auth_data: &[], signature: &[] };
    assert!(asserted(&relying, &CHALLENGE, &known, &other).is_err(), "there is no authenticator data");
});
