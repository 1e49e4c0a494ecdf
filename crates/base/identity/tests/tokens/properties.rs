//! Properties: of times, of any change to a token, and of bytes that are none.

use keyreeve_identity::jws::Compact;
use keyreeve_identity::{Claims, Expect, JwsAlgorithm, KeySet, verify_jwt};
use proptest::prelude::*;
use std::time::Duration;

use crate::issuer::{NOW, at, claims, issuer, with};

fn expect(skew: u64) -> Expect<'static> {
    Expect {
        issuer: "https://id.example",
        audiences: &["keyreeve"],
        algorithms: &[JwsAlgorithm::EdDsa],
        skew: Duration::from_secs(skew),
        max_life: None,
        max_auth_age: None,
        id_token: None,
    }
}

proptest! {
    #[test]
    fn a_token_counts_exactly_in_its_time(
        begin in -500_i64..500, life in 1_i64..500, skew in 0_u64..200, now in -1000_i64..1000,
    ) {
        let claims = with(with(claims(), "iat", (NOW + begin).into()), "exp", (NOW + begin + life).into());
        let token = issuer().sign(JwsAlgorithm::EdDsa, &claims);
        let counts = verify_jwt(&token, &issuer().key_set(), &expect(skew), at(NOW + now)).is_ok();
        let skew = i64::try_from(skew.min(60)).unwrap();
        prop_assert_eq!(counts, begin - skew <= now && now < begin + life + skew);
    }

    #[test]
    fn a_changed_token_proves_nothing(at_byte in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let token = issuer().sign(JwsAlgorithm::EdDsa, &claims());
        let index = at_byte.index(token.len());
        let changed = format!("{}{to}{}", &token[..index], &token[index + 1..]);
        let counts = verify_jwt(&changed, &issuer().key_set(), &expect(60), at(NOW)).is_ok();
        prop_assert_eq!(counts, changed == token);
    }

    #[test]
    fn an_algorithm_in_the_header_never_chooses_the_key_type(named in 0_usize..9, signed in 0_usize..9) {
        let (named, signed) = (JwsAlgorithm::ALL[named], JwsAlgorithm::ALL[signed]);
        let header = serde_json::json!({"alg": named.name(), "kid": crate::issuer::kid(signed)}).to_string();
        let token = issuer().sign_raw(signed, header.as_bytes(), claims().to_string().as_bytes());
        let all = Expect { algorithms: &JwsAlgorithm::ALL, ..expect(60) };
        prop_assert_eq!(verify_jwt(&token, &issuer().key_set(), &all, at(NOW)).is_ok(), named == signed);
    }

    #[test]
    fn bytes_that_are_no_token_are_refused_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[A-Za-z0-9_.-]{0,200}",
    ) {
        prop_assert!(Compact::parse(&text).is_err());
        let _ = KeySet::parse(&bytes);
        prop_assert!(Claims::parse(&bytes, "").is_err());
    }
}
