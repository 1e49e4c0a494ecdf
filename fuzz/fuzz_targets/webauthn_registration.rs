//! What browsers and authenticators answer to a registration: attestation objects, and client data.
#![no_main]

use keyreeve_identity::webauthn::{CREDENTIAL_ID_MAX, CoseKey, Registration, Relying, register};
use libfuzzer_sys::fuzz_target;

const CHALLENGE: [u8; 32] = [0; 32];
const CLIENT_DATA: &[u8] =
    br#"{"type":"webauthn.create","challenge":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","origin":"https://example.org"}"#;

fuzz_target!(|data: &[u8]| {
    let origins = ["https://example.org".to_owned()];
    let relying = Relying { id: "example.org", origins: &origins };
    if let Ok(made) = register(&relying, &CHALLENGE, &Registration { client_data: CLIENT_DATA, attestation: data }) {
        assert!((1..=CREDENTIAL_ID_MAX).contains(&made.credential_id.len()));
        assert!(made.backup_eligible || !made.backed_up);
        let again = CoseKey::parse(&made.cose_key).expect("what was accepted is accepted again");
        assert_eq!(again.algorithm(), made.algorithm);
    }
    let other = Registration { client_data: data, attestation: &[] };
    assert!(register(&relying, &CHALLENGE, &other).is_err(), "there is no attestation object");
});
