//! Client certificates as evidence: which of their names count.

use keyreeve_model::login::{CertificateMethod, Digest};
use std::borrow::Cow;

use crate::binding::Facts;

/// What a certificate says that the listener has checked.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// SHA-256 of its DER, in hexadecimal.
    pub fingerprint: &'a str,
    /// DNS names it is for.
    pub dns_names: &'a [String],
    /// URIs it is for.
    pub uris: &'a [String],
    /// Authorities between it and what the listener trusts, that one included: SHA-256 of their public keys.
    pub authorities: &'a [[u8; 32]],
}

/// The one name of a certificate that a method admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    name: String,
    is_uri: bool,
    fingerprint: String,
}

impl Facts for CertificateFacts {
    fn subject(&self) -> &str {
        &self.name
    }

    fn values(&self, path: &str) -> Vec<Cow<'_, str>> {
        match (path, self.is_uri) {
            ("uri", true) | ("dns", false) | ("subject", _) => vec![self.name.as_str().into()],
            ("fingerprint", _) => vec![self.fingerprint.as_str().into()],
            _ => Vec::new(),
        }
    }
}

/// Whether one of the authorities that a method names vouches for a certificate; any does where it names none.
#[must_use]
pub fn is_vouched_for(method: &CertificateMethod, presented: &Presented<'_>) -> bool {
    let named = |authority: &[u8; 32]| method.authorities.contains(&Digest(*authority));
    method.authorities.is_empty() || presented.authorities.iter().any(named)
}

/// What a certificate proves under a method: its one admitted URI, or without any its one admitted DNS name. Two names
/// leave in doubt who it is, and prove nothing (SPIFFE X.509-SVID section 2 admits one URI for the same reason).
#[must_use]
pub fn facts(method: &CertificateMethod, presented: &Presented<'_>) -> Option<CertificateFacts> {
    let uris: Vec<&String> = presented.uris.iter().filter(|uri| uri_counts(method, uri)).collect();
    let names: Vec<&String> = presented.dns_names.iter().filter(|name| dns_counts(method, name)).collect();
    let (name, is_uri) = match (uris.as_slice(), names.as_slice()) {
        ([uri], _) => ((*uri).clone(), true),
        ([], [name]) => (name.to_ascii_lowercase(), false),
        _ => return None,
    };
    Some(CertificateFacts { name, is_uri, fingerprint: presented.fingerprint.to_owned() })
}

/// No dot segments, empty parts or percent signs, which others might read differently than we do.
fn uri_counts(method: &CertificateMethod, uri: &str) -> bool {
    let plain = |rest: &str| {
        let parts = rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
        parts && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
    };
    method.uri_prefixes.iter().any(|prefix| uri.strip_prefix(prefix.as_str()).is_some_and(plain))
}

/// Wildcards are names of servers, not of anybody.
fn dns_counts(method: &CertificateMethod, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let host =
        |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let suffixes = method.dns_suffixes.iter().map(|suffix| suffix.to_ascii_lowercase());
    suffixes.into_iter().any(|suffix| name.strip_suffix(&suffix).is_some_and(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn method() -> CertificateMethod {
        CertificateMethod {
            uri_prefixes: set(&["spiffe://prod.example/"]),
            dns_suffixes: set(&[".payments.example"]),
            authorities: BTreeSet::new(),
        }
    }

    fn name(uris: &[&str], dns: &[&str]) -> Option<String> {
        let (uris, dns_names): (Vec<_>, Vec<_>) =
            (uris.iter().map(|u| (*u).to_owned()).collect(), dns.iter().map(|d| (*d).to_owned()).collect());
        let presented = Presented { fingerprint: "f", dns_names: &dns_names, uris: &uris, authorities: &[] };
        facts(&method(), &presented).map(|facts| facts.name)
    }

    #[test]
    fn one_admitted_name_counts() {
        assert_eq!(name(&["spiffe://prod.example/ns/a"], &[]), Some("spiffe://prod.example/ns/a".into()));
        assert_eq!(
            name(&["spiffe://prod.example/a", "https://else.example/"], &["x"]),
            Some("spiffe://prod.example/a".into())
        );
        assert_eq!(name(&[], &["API.Payments.example"]), Some("api.payments.example".into()));
        assert_eq!(name(&["spiffe://prod.example/a", "spiffe://prod.example/b"], &[]), None);
        assert_eq!(name(&[], &["a.payments.example", "b.payments.example"]), None);
        assert_eq!(name(&[], &[]), None);
    }

    #[test]
    fn names_beside_the_admitted_ones_prove_nothing() {
        for uri in [
            "spiffe://prod.example.evil/a",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://prod.example/a/../b",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/%61",
            "SPIFFE://prod.example/a",
        ] {
            assert_eq!(name(&[uri], &[]), None, "{uri}");
        }
        for dns in [
            "payments.example",
            ".payments.example",
            "*.payments.example",
            "xpayments.example",
            "a.payments.example.evil",
        ] {
            assert_eq!(name(&[], &[dns]), None, "{dns}");
        }
    }

    #[test]
    fn an_authority_vouches_where_it_is_named_and_any_where_none_is() {
        let of = |authorities: &[[u8; 32]]| {
            let authorities = authorities.iter().copied().map(Digest).collect();
            CertificateMethod { authorities, ..method() }
        };
        let by = [[1; 32], [2; 32]];
        let presented = Presented { fingerprint: "f", dns_names: &[], uris: &[], authorities: &by };
        assert!(is_vouched_for(&of(&[]), &presented));
        assert!(is_vouched_for(&of(&[[2; 32], [3; 32]]), &presented));
        assert!(!is_vouched_for(&of(&[[3; 32]]), &presented));
        assert!(!is_vouched_for(&of(&[[1; 32]]), &Presented { authorities: &[], ..presented }));
    }

    #[test]
    fn a_certificate_says_what_kind_of_name_it_is() {
        let uris = ["spiffe://prod.example/a".to_owned()];
        let presented = Presented { fingerprint: "ff", dns_names: &[], uris: &uris, authorities: &[] };
        let facts = facts(&method(), &presented).unwrap();
        assert_eq!((facts.values("uri").len(), facts.values("dns").len()), (1, 0));
        assert_eq!((facts.subject(), facts.values("fingerprint")[0].as_ref()), ("spiffe://prod.example/a", "ff"));
    }
}
