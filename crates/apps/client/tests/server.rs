//! The client against a real server in this process.
#![allow(clippy::unwrap_used)]

use keyreeve_client::{
    AuditFilter, Client, ClientError, Context, KeyFilter, Options, StreamError, TlsTrouble, read_header,
};
use keyreeve_secret::{SecretBytes, SecretString};
use keyreeve_server::{DevOptions, Running, dev};
use keyreeve_wire::access::CreateToken;
use keyreeve_wire::keys::{CreateKey, SuspendKey};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

struct Site {
    running: Running,
    client: Client,
    address: String,
    ca: Vec<u8>,
    _directory: TempDir,
}

impl Site {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("dev");
        let options = DevOptions { data_dir, listen: ([127, 0, 0, 1], 0).into(), verbose: false };
        let (running, ready) = dev::start(options).await.unwrap();
        let ca = std::fs::read(&ready.ca_file).unwrap();
        let token = SecretString::from(std::fs::read_to_string(&ready.token_file).unwrap().trim().to_owned());
        let client = Client::new(&Options::new(&ready.url).with_ca(ca.clone()).with_token(token)).unwrap();
        Self { running, client, address: ready.url, ca, _directory: directory }
    }

    async fn key(&self, alias: &str) -> String {
        let new = CreateKey { aliases: vec![alias.to_owned()], ..CreateKey::default() };
        self.client.create_key(&new).await.unwrap().value.summary.id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_take_one_request_each_way_and_show_tampering() {
    let site = Site::start().await;
    let id = site.key("files/kind").await;
    let context = Context::from([("file".to_owned(), "a".to_owned())]);
    let plaintext: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let seen = Arc::new(Mutex::new(0));
    let hears = seen.clone();
    let mut file = Vec::new();
    let envelope = site.client.new_envelope(&id, &context).await.unwrap();
    assert!(envelope.audit_record.unwrap().starts_with("rec_"));
    envelope.value.encrypt(&plaintext[..], &mut file, move |done| *hears.lock().unwrap() = done).unwrap();
    assert_eq!(*seen.lock().unwrap(), 300_000);

    let mut rest = &file[..];
    let header = read_header(&mut rest).unwrap();
    assert_eq!(header.header().context(), &context);
    let wrong = Context::from([("file".to_owned(), "b".to_owned())]);
    let refused = site.client.open_envelope(header.clone(), Some(&wrong)).await;
    assert!(matches!(refused, Err(ClientError::Stream(StreamError::Envelope(_)))));
    let opened = site.client.open_envelope(header, Some(&context)).await.unwrap().value;
    let mut back = Vec::new();
    opened.decrypt(rest, &mut back, |_| ()).unwrap();
    assert_eq!(back, plaintext);
    let mut part = Vec::new();
    let cut = opened.decrypt(&rest[..rest.len() - 1], &mut part, |_| ());
    assert!(matches!(cut, Err(ClientError::Stream(StreamError::Envelope(_)))));
    assert!(part.len() < plaintext.len() && plaintext.starts_with(&part));
    let filter =
        AuditFilter { resource: Some(id), operation: Some("key.unwrap-data-key".into()), ..Default::default() };
    let uses = site.client.search_audit(&filter, None, None).await.unwrap().value.items;
    assert_eq!(uses.len(), 1, "a context that is not the expected one is noticed before anything is asked");
    site.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_typed_and_name_their_audit_record() {
    let site = Site::start().await;
    let id = site.key("orders").await;
    let suspend = SuspendKey { risk_accepted: false, reason: "test".to_owned() };
    site.client.suspend_key(&id, &suspend).await.unwrap();
    let refused = site.client.encrypt("orders", SecretBytes::copy_from(b"x"), &Context::new()).await.unwrap_err();
    let problem = refused.problem().unwrap();
    assert_eq!((problem.code.as_str(), problem.status), ("wrong-state", 409));
    let record = problem.audit_record.clone().unwrap();
    let proof = site.client.prove_audit(&record).await.unwrap().value;
    assert!(proof.record.contains("\"operation\":\"key.encrypt\"") && proof.record.contains(&record));
    assert_eq!(site.client.key("no/such-key").await.unwrap_err().code(), Some("not-found"));
    let nobody = Client::new(&Options::new(&site.address).with_ca(site.ca.clone())).unwrap();
    assert!(nobody.status().await.unwrap().value.open);
    assert_eq!(nobody.keys(&KeyFilter::default(), None, None).await.unwrap_err().code(), Some("unauthenticated"));
    site.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let (site, other) = (Site::start().await, Site::start().await);
    let options = Options::new(&site.address).with_ca(other.ca.clone()).with_attempts(1);
    let error = Client::new(&options).unwrap().status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Untrusted { trouble: TlsTrouble::UnknownIssuer, .. }), "{error}");
    site.running.stop().await;
    other.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_of_every_kind_are_read() {
    let site = Site::start().await;
    let id = site.key("a").await;
    let client = &site.client;
    let filter = KeyFilter { text: Some("a".to_owned()), ..KeyFilter::default() };
    let keys = client.keys(&filter, None, Some(1)).await.unwrap().value;
    assert_eq!(keys.items[0].id, id);
    assert_eq!(client.keyrings(None, None).await.unwrap().value.items.len(), 1);
    assert!(client.algorithms().await.unwrap().value.items.len() > 20);
    assert!(client.policies(None, None).await.unwrap().value.items.iter().any(|policy| policy.built_in));
    assert!(client.actions().await.unwrap().value.items.iter().any(|action| action.name == "key.encrypt"));
    let me = client.whoami().await.unwrap().value.principal;
    let new = CreateToken { principal: me, seconds: Some(60), description: String::new(), networks: Vec::new() };
    let token = client.create_token(&new).await.unwrap().value;
    assert!(client.tokens(None, None).await.unwrap().value.items.iter().any(|known| known.id == token.info.id));
    assert!(!client.revoke_token(&token.info.id).await.unwrap().value.valid);
    assert!(!client.audit_checkpoint().await.unwrap().is_empty());
    assert_eq!(client.audit_file("tile/7/000.p/1").await.unwrap(), None);
    client.seal().await.unwrap();
    assert_eq!(client.key(&id).await.unwrap_err().code(), Some("sealed"));
    site.running.stop().await;
}
