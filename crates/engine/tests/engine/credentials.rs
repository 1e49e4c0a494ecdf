//! What the log tells of a credential that was refused, and what the caller does not hear.

use keyreeve_audit::Record;
use keyreeve_engine::ops::principals::{Delete, Put, PutSpec};
use keyreeve_engine::ops::tokens::{self, Revoke, WhoAmI};
use keyreeve_engine::{Arrival, Code, Evidence, PeerCertificate, Refused};
use keyreeve_model::access::CertificateRule;
use keyreeve_model::{RecordId, TokenId, UnixMillis};
use keyreeve_secret::SecretString;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::{House, Who, label, name};

/// A house whose refusals are collected: what the caller heard, and the record.
struct Gate {
    house: House,
    heard: BTreeSet<String>,
    /// What must not be in any record.
    secrets: Vec<String>,
}

impl Gate {
    async fn new() -> Self {
        Self { house: House::new().await, heard: BTreeSet::new(), secrets: Vec::new() }
    }

    /// A principal with a token of 10 minutes; its id.
    async fn guest(&mut self, spec: PutSpec) -> (Who, TokenId) {
        let principal = spec.name.clone();
        self.house.ask(Put::new(spec)).await;
        let issued = self
            .house
            .ask(tokens::Create { principal, seconds: 600, description: label("t"), networks: Default::default() })
            .await;
        let (_, secret) = issued.token.expose().rsplit_once('_').unwrap();
        self.secrets.push(secret.to_owned());
        (Who::Bearer(issued.token), issued.record.id)
    }

    async fn record(&self, id: RecordId) -> Record {
        self.house.records().await.into_iter().find(|record| record.id == id).unwrap()
    }

    async fn noted(&mut self, refused: Refused) -> Record {
        assert_eq!(refused.error.code(), Code::Unauthenticated);
        self.heard.insert(format!("{:?}", refused.error));
        let record = self.record(refused.record.unwrap()).await;
        assert_eq!((record.actor.principal.as_str(), record.outcome.code()), ("unknown", Some("unauthenticated")));
        record
    }

    /// The reason and the token in the record of a refused token.
    async fn refused(&mut self, who: &Who) -> (String, Option<String>) {
        let refused = self.house.call(who, WhoAmI).await.unwrap_err();
        let mut record = self.noted(refused).await;
        let reason = record.details.remove("credential_refused").unwrap();
        let token = record.details.remove("token");
        assert_eq!(record.details.len(), 0, "{:?}", record.details);
        (reason, token)
    }
}

fn bearer(text: String) -> Who {
    Who::Bearer(SecretString::from(text))
}

#[tokio::test]
async fn a_token_of_a_network_is_good_from_nowhere_else() {
    let mut gate = Gate::new().await;
    let (_, _) = gate.guest(House::person("guest", &[])).await;
    let create = |network: &str| tokens::Create {
        principal: name("guest"),
        seconds: 600,
        description: label("t"),
        networks: [network.to_owned()].into(),
    };
    assert_eq!(gate.house.code(create("10.0.0.0/33")).await, Code::InvalidRequest);
    let here = Who::Bearer(gate.house.ask(create("10.0.0.0/8")).await.token);
    gate.house.call(&here, WhoAmI).await.unwrap();
    let issued = gate.house.ask(create("192.0.2.0/24")).await;
    let elsewhere = Who::Bearer(issued.token);
    let shown = Some(issued.record.id.to_string());
    assert_eq!(gate.refused(&elsewhere).await, ("token-elsewhere".to_owned(), shown));
    assert_eq!(gate.heard.len(), 1);
}

#[tokio::test]
async fn the_log_says_which_token_was_refused_and_why_and_the_caller_hears_one_text() {
    let mut gate = Gate::new().await;
    let (guest, id) = gate.guest(House::person("guest", &[])).await;
    let shown = Some(id.to_string());
    let (start, _) = guest.token().rsplit_once('_').unwrap();
    let wrong = bearer(format!("{start}_{}", "ab".repeat(32)));
    assert_eq!(gate.refused(&wrong).await, ("wrong-secret".to_owned(), shown.clone()));
    let nowhere = TokenId::new(UnixMillis(5), [3; 10]);
    let text = format!("krt_{}_{}", nowhere.to_string().trim_start_matches(TokenId::PREFIX), "ab".repeat(32));
    assert_eq!(gate.refused(&bearer(text)).await, ("unknown-token".to_owned(), Some(nowhere.to_string())));
    // What has no token's form may be any secret: nothing of it is written down.
    for text in [guest.token()[..guest.token().len() - 1].to_owned(), "hunter2".to_owned(), String::new()] {
        assert_eq!(gate.refused(&bearer(text)).await, ("malformed-token".to_owned(), None));
    }
    gate.house.ask(Put::new(PutSpec { disabled: true, ..House::person("guest", &[]) })).await;
    assert_eq!(gate.refused(&guest).await, ("principal-disabled".to_owned(), shown.clone()));
    let networks = ["192.0.2.0/24".to_owned()].into();
    gate.house.ask(Put::new(PutSpec { networks, ..House::person("guest", &[]) })).await;
    assert_eq!(gate.refused(&guest).await, ("other-network".to_owned(), shown.clone()));
    gate.house.ask(House::putting("guest", &[])).await;
    gate.house.ask(Revoke { token: id }).await;
    assert_eq!(gate.refused(&guest).await, ("revoked".to_owned(), shown.clone()));
    assert_eq!(gate.refused(&wrong).await.0, "wrong-secret", "to a stranger a revoked token is like any other");
    let (brief, brief_id) = gate.guest(House::person("brief", &[])).await;
    gate.house.clock.turn(600_000);
    assert_eq!(gate.refused(&brief).await, ("expired".to_owned(), Some(brief_id.to_string())));
    let (gone, gone_id) = gate.guest(House::person("gone", &[])).await;
    gate.house.ask(Delete { name: name("gone") }).await;
    assert_eq!(gate.refused(&gone).await, ("principal-missing".to_owned(), Some(gone_id.to_string())));
    gate.house.clock.turn(1);
    gate.house.ask(House::putting("gone", &[])).await;
    assert_eq!(gate.refused(&gone).await, ("earlier-principal".to_owned(), Some(gone_id.to_string())));
    assert_eq!(gate.heard.len(), 1, "{:?}", gate.heard);
    let log: Vec<String> = gate.house.records().await.iter().map(|record| format!("{record:?}")).collect();
    for secret in &gate.secrets {
        // Not in part either: no 8 digits in a row.
        let parts: Vec<&str> = (0..=secret.len() - 8).map(|at| &secret[at..at + 8]).collect();
        assert!(!log.iter().any(|line| parts.iter().any(|part| line.contains(part))));
    }
}

#[tokio::test]
async fn the_log_says_which_certificate_was_refused_and_why() {
    let mut gate = Gate::new().await;
    let certificates = BTreeSet::from([CertificateRule::Fingerprint("07".repeat(32))]);
    let spec = || PutSpec { certificates: certificates.clone(), ..House::person("pinned", &[]) };
    gate.house.ask(Put::new(spec())).await;
    let now = keyreeve_engine::Clock::now(&*gate.house.clock).0;
    let cases = [
        (7, true, (now, now), "principal-disabled"),
        (9, false, (now, now), "unknown-certificate"),
        (7, false, (now + 1, now + 2), "not-yet-valid"),
        (7, false, (now - 2, now - 1), "expired"),
    ];
    for (fingerprint, disabled, (from, until), reason) in cases {
        gate.house.ask(Put::new(PutSpec { disabled, ..spec() })).await;
        let peer = PeerCertificate {
            fingerprint: [fingerprint; 32],
            dns_names: Vec::new(),
            uris: Vec::new(),
            authorities: Vec::new(),
            valid: (UnixMillis(from), UnixMillis(until)),
        };
        let arrival = Arrival { evidence: Evidence::Certificate(Arc::new(peer)), ..House::arrival(&Who::Nobody) };
        let refused = gate.house.engine().call(arrival, WhoAmI).await.unwrap_err();
        let record = gate.noted(refused).await;
        assert_eq!(record.details["credential_refused"], reason);
        assert_eq!(record.details["certificate_sha256"], hex::encode([fingerprint; 32]));
    }
    let (guest, _) = gate.guest(House::person("guest", &[])).await;
    let done = gate.house.call(&guest, WhoAmI).await.unwrap();
    let record = gate.record(done.record.unwrap()).await;
    assert_eq!(record.details.len(), 0, "what was accepted needs no such note: {:?}", record.details);
}
