//! A receiver in Python, written from docs/formats.md, standard library only.

use keyreeve_model::NoticeKind;
use keyreeve_notify::conformance::{NOW, NotifyFixture, Seen, notice, notify_suite};
use keyreeve_notify::receiver::Program;
use keyreeve_notify::{Notifier, NotifyError};
use keyreeve_notify_webhook::{Webhook, WebhookOptions};
use keyreeve_secret::SecretBytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SECRET: &[u8] = b"correct horse battery staple, and some more of it";

struct House {
    home: tempfile::TempDir,
    authority: Authority,
    receiver: Program,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn server(&self, home: &Path, name: &str) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(home.join("cert.pem"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(home.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

impl House {
    fn new() -> Self {
        Self::named("127.0.0.1")
    }

    fn named(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.server(home.path(), name);
        std::fs::write(home.path().join("secret"), SECRET).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/access/webhook.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["cert.pem", "key.pem", "secret"]).current_dir(home.path());
        let receiver = Program::start(&mut command);
        Self { home, authority, receiver }
    }

    fn webhook(&self, port: u16, ca_pem: Option<&str>, secret: &[u8]) -> Webhook {
        let options = WebhookOptions {
            channel: "oncall".parse().unwrap(),
            url: format!("https://127.0.0.1:{port}/hooks/hidden-part"),
            secret: SecretBytes::copy_from(secret),
            ca_pem: ca_pem.map(|pem| pem.as_bytes().to_vec()),
            timeout: Duration::from_secs(2),
        };
        Webhook::new(options).unwrap()
    }

    fn right(&self) -> Webhook {
        self.webhook(self.receiver.port(), Some(&self.authority.pem), SECRET)
    }
}

impl NotifyFixture for House {
    fn notifier(&self) -> Box<dyn Notifier> {
        Box::new(self.right())
    }

    fn next(&self) -> Seen {
        let seen = self.receiver.next();
        assert!(seen.get("forged").is_none(), "the signature does not verify: {seen}");
        assert_eq!(seen["headers"]["content-type"], "application/json");
        assert_eq!(seen["path"], "/hooks/hidden-part");
        assert_eq!(seen["body"]["v"], 1);
        assert_eq!(seen["headers"]["keyreeve-notice"], seen["body"]["id"]);
        Seen {
            id: seen["body"]["id"].as_str().unwrap().to_owned(),
            subject: seen["body"]["subject"].as_str().unwrap().to_owned(),
            body: seen["text"].as_str().unwrap().to_owned(),
            recipients: 1,
        }
    }

    fn nothing(&self) {
        self.receiver.nothing();
    }

    fn refuse_next(&self, for_good: bool) {
        self.receiver.order(if for_good { "status 410" } else { "status 500" });
    }

    fn gives_away(&self, text: &str) -> bool {
        text.contains("correct horse") || text.contains("hidden-part")
    }

    fn nobody_there(&self) -> Box<dyn Notifier> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Box::new(self.webhook(free, Some(&self.authority.pem), SECRET))
    }

    fn stranger(&self) -> Box<dyn Notifier> {
        Box::new(self.webhook(self.receiver.port(), Some(&Authority::new().pem), SECRET))
    }
}

#[tokio::test]
async fn the_suite_holds() {
    notify_suite(&House::new()).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let house = House::named("hooks.example.com");
    let webhook = house.right();
    let sent = notice(&webhook, NoticeKind::Test, "who are you", 1);
    let error = webhook.send(&sent, NOW).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    house.receiver.nothing();
}

#[tokio::test]
async fn without_an_authority_of_its_own_those_of_the_system_count() {
    let house = House::new();
    let webhook = house.webhook(house.receiver.port(), None, SECRET);
    let sent = notice(&webhook, NoticeKind::Test, "who are you", 1);
    assert!(webhook.send(&sent, NOW).await.unwrap_err().to_string().contains("certificate"));
    house.receiver.nothing();
}

#[tokio::test]
async fn a_receiver_with_another_secret_refuses_and_may_be_put_right() {
    let house = House::new();
    let webhook = house.webhook(house.receiver.port(), Some(&house.authority.pem), &[9; 32]);
    let sent = notice(&webhook, NoticeKind::Test, "signed otherwise", 1);
    assert!(matches!(webhook.send(&sent, NOW).await, Err(NotifyError::TryAgain(why)) if why.contains("403")));
    assert_eq!(house.receiver.next()["forged"], "/hooks/hidden-part");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let house = House::new();
    let webhook = house.right();
    house.receiver.order("status 307");
    let sent = notice(&webhook, NoticeKind::Test, "go elsewhere", 1);
    assert!(matches!(webhook.send(&sent, NOW).await, Err(NotifyError::TryAgain(why)) if why.contains("307")));
    house.receiver.nothing();
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_given_up_in_time() {
    let house = House::new();
    let webhook = house.right();
    house.receiver.order("hang");
    let sent = notice(&webhook, NoticeKind::Test, "are you there", 1);
    let began = std::time::Instant::now();
    assert!(matches!(webhook.send(&sent, NOW).await, Err(NotifyError::TryAgain(_))));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_time_of_the_attempt_is_signed() {
    let house = House::new();
    let webhook = house.right();
    let sent = notice(&webhook, NoticeKind::Test, "when", 1);
    let mut signatures = Vec::new();
    for seconds in [0, 90] {
        webhook.send(&sent, keyreeve_model::UnixMillis(NOW.0 + seconds * 1000)).await.unwrap();
        let seen = house.receiver.next();
        let timestamp: i64 = seen["headers"]["keyreeve-timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(timestamp, NOW.0 / 1000 + seconds);
        signatures.push(seen["headers"]["keyreeve-signature"].as_str().unwrap().to_owned());
    }
    assert_ne!(signatures[0], signatures[1]);
    assert!(house.home.path().exists());
}
