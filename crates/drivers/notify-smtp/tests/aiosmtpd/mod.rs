//! aiosmtpd with STARTTLS, with TLS from the start, and with neither; AUTH where there is TLS.

use keyreeve_model::NoticeKind;
use keyreeve_notify::conformance::{NOW, NotifyFixture, Seen, notice, notify_suite};
use keyreeve_notify::receiver::Program;
use keyreeve_notify::{Notifier, NotifyError};
use keyreeve_notify_smtp::{Protection, Smtp, SmtpOptions};
use keyreeve_secret::SecretString;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PASSWORD: &str = "open sesame";

struct House {
    _home: tempfile::TempDir,
    ca: String,
    receiver: Program,
    protection: Protection,
}

/// A Python that has aiosmtpd, where `cargo xtask test` installs it.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(target).join("aiosmtpd/bin/python")
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

impl House {
    /// None where there is no aiosmtpd.
    fn new(protection: Protection) -> Option<Self> {
        let there = Command::new(python()).args(["-c", "import aiosmtpd"]).status();
        if !there.is_ok_and(|status| status.success()) {
            let must = std::env::var("KEYREEVE_TEST_ALL").as_deref() == Ok("1");
            assert!(!must, "cannot run: {} has no aiosmtpd", python().display());
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let (ca, issuer) = authority();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(home.path().join("cert.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(home.path().join("key.pem"), key.serialize_pem()).unwrap();
        let how = match protection {
            Protection::Implicit => "implicit",
            Protection::Starttls => "starttls",
            Protection::None => "plain",
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/access/smtp.py");
        let mut command = Command::new(python());
        command.arg(script).args([how, "cert.pem", "key.pem", "keyreeve", PASSWORD]).current_dir(home.path());
        let receiver = Program::start(&mut command);
        Some(Self { _home: home, ca, receiver, protection })
    }

    fn options(&self) -> SmtpOptions {
        let told = self.protection != Protection::None;
        SmtpOptions {
            channel: "mail".parse().unwrap(),
            host: "127.0.0.1".to_owned(),
            port: self.receiver.port(),
            protection: self.protection,
            ca_pem: Some(self.ca.as_bytes().to_vec()),
            credentials: told.then(|| ("keyreeve".to_owned(), SecretString::copy_from(PASSWORD))),
            from: "Keyreeve <keyreeve@example.com>".to_owned(),
            to: vec!["ann@example.com".to_owned(), "Bob <bob@example.com>".to_owned()],
            timeout: Duration::from_secs(10),
        }
    }

    fn smtp(&self) -> Smtp {
        Smtp::new(self.options()).unwrap()
    }
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap().iter();
    headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

impl NotifyFixture for House {
    fn notifier(&self) -> Box<dyn Notifier> {
        Box::new(self.smtp())
    }

    fn next(&self) -> Seen {
        let mail = self.receiver.next();
        assert_eq!(mail["from"], "keyreeve@example.com");
        assert_eq!(mail["to"], serde_json::json!(["ann@example.com", "bob@example.com"]));
        assert_eq!(mail["encrypted"], self.protection != Protection::None);
        assert_eq!(header(&mail, "auto-submitted"), ["auto-generated"]);
        assert!(header(&mail, "bcc").is_empty() && header(&mail, "cc").is_empty(), "{mail}");
        let (id, subject) = (header(&mail, "keyreeve-notice"), header(&mail, "subject"));
        assert_eq!((id.len(), subject.len()), (1, 1), "{mail}");
        assert_eq!(header(&mail, "message-id"), [format!("<{}@example.com>", id[0])]);
        Seen {
            id: id[0].to_owned(),
            subject: subject[0].to_owned(),
            body: mail["text"].as_str().unwrap().to_owned(),
            recipients: mail["to"].as_array().unwrap().len(),
        }
    }

    fn nothing(&self) {
        self.receiver.nothing();
    }

    fn refuse_next(&self, for_good: bool) {
        self.receiver.order(if for_good { "refuse 550" } else { "refuse 451" });
    }

    fn gives_away(&self, text: &str) -> bool {
        text.contains(PASSWORD) || text.contains("sesame")
    }

    fn nobody_there(&self) -> Box<dyn Notifier> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Box::new(Smtp::new(SmtpOptions { port: free, ..self.options() }).unwrap())
    }

    fn stranger(&self) -> Box<dyn Notifier> {
        let protection = match self.protection {
            // Without TLS there is nobody to be told from others: the suite is about the same server with it.
            Protection::None => Protection::Starttls,
            with_tls => with_tls,
        };
        let ca_pem = Some(authority().0.into_bytes());
        Box::new(Smtp::new(SmtpOptions { protection, ca_pem, ..self.options() }).unwrap())
    }
}

#[tokio::test]
async fn the_suite_holds_over_starttls() {
    let Some(house) = House::new(Protection::Starttls) else { return };
    notify_suite(&house).await;
}

#[tokio::test]
async fn the_suite_holds_over_implicit_tls() {
    let Some(house) = House::new(Protection::Implicit) else { return };
    notify_suite(&house).await;
}

#[tokio::test]
async fn mail_on_this_machine_needs_no_tls() {
    let Some(house) = House::new(Protection::None) else { return };
    let smtp = house.smtp();
    let sent = notice(&smtp, NoticeKind::Test, "in the clear", 1);
    smtp.send(&sent, NOW).await.unwrap();
    assert_eq!(house.next().id, sent.id.to_string());
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing() {
    let Some(house) = House::new(Protection::None) else { return };
    let credentials = Some(("keyreeve".to_owned(), SecretString::copy_from(PASSWORD)));
    let options = SmtpOptions { protection: Protection::Starttls, credentials, ..house.options() };
    let smtp = Smtp::new(options).unwrap();
    let sent = notice(&smtp, NoticeKind::EmergencyActive, "stripped", 1);
    assert!(matches!(smtp.send(&sent, NOW).await, Err(NotifyError::TryAgain(_))));
    house.receiver.nothing();
}

#[tokio::test]
async fn a_refused_credential_is_tried_again_and_not_told() {
    let Some(house) = House::new(Protection::Starttls) else { return };
    for credentials in [Some(("keyreeve".to_owned(), SecretString::copy_from("open barley"))), None] {
        let smtp = Smtp::new(SmtpOptions { credentials, ..house.options() }).unwrap();
        let sent = notice(&smtp, NoticeKind::Test, "who am I", 1);
        let error = smtp.send(&sent, NOW).await.unwrap_err();
        assert!(matches!(&error, NotifyError::TryAgain(why) if why.contains("53")), "{error:?}");
        assert!(!error.to_string().contains("barley"), "{error}");
    }
    house.receiver.nothing();
}
