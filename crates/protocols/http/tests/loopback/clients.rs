//! Client certificates: revoked ones, lists that are out of date or missing, and by which authorities one is trusted.

use keyreeve_http::{ClientAuth, Limits, TlsMaterial, Unsure};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Answer, Authority, Bench, Identity, material};

/// A year in which nothing has expired, and one in which everything has.
const GOOD: i32 = 4000;
const PAST: i32 = 2021;

/// What a client hears at a path; nothing when it is not let in, which it may learn at the handshake or after it.
async fn heard(bench: &Bench, identity: &Identity, path: &str) -> Option<String> {
    let mut stream = bench.connect(bench.authority.client(Some(identity), &[&TLS13])).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let answer = Answer::read(&mut stream).await;
    (answer.status == 200).then_some(answer.body)
}

async fn comes_in(bench: &Bench, identity: &Identity) -> bool {
    heard(bench, identity, "/who").await.is_some()
}

/// A listener that asks for certificates of these authorities.
fn bench(authorities: &[&Authority], adapt: impl FnOnce(&mut TlsMaterial)) -> Bench {
    Bench::start(Limits::default(), |material| {
        of(material, authorities);
        adapt(material);
    })
}

fn of(material: &mut TlsMaterial, authorities: &[&Authority]) {
    let pem: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    (material.client_auth, material.client_ca_pem) = (ClientAuth::Optional, Some(pem.into_bytes()));
}

/// Reads other files.
fn replace(bench: &Bench, authorities: &[&Authority], adapt: impl FnOnce(&mut TlsMaterial)) {
    let mut material = material(&bench.authority.issue("localhost", None));
    of(&mut material, authorities);
    adapt(&mut material);
    bench.tls.as_ref().unwrap().replace(&material).unwrap();
}

#[tokio::test]
async fn what_its_authority_revoked_does_not_come_in() {
    let clients = Authority::new("clients");
    let (good, revoked) = (clients.issue("good.example", None), clients.issue("revoked.example", None));
    let bench = bench(&[&clients], |_| {});
    assert!(comes_in(&bench, &good).await && comes_in(&bench, &revoked).await);
    let list = clients.revokes(&[&revoked], GOOD);
    for file in [list.pem().unwrap().into_bytes(), list.der().to_vec()] {
        replace(&bench, &[&clients], |material| material.client_crls = vec![file]);
        assert!(comes_in(&bench, &good).await);
        assert!(!comes_in(&bench, &revoked).await);
        assert_eq!(bench.get("/who", "").await.body, "none", "others come in without a certificate as before");
    }
}

#[tokio::test]
async fn a_list_that_is_out_of_date_or_missing_refuses_unless_told_otherwise() {
    let (clients, partners) = (Authority::new("clients"), Authority::new("partners"));
    let (good, revoked) = (clients.issue("good.example", None), clients.issue("revoked.example", None));
    let partner = partners.issue("partner.example", None);
    let both = [&clients, &partners];
    let old = clients.revokes(&[&revoked], PAST).pem().unwrap().into_bytes();
    let bench = bench(&both, |material| material.client_crls = vec![old.clone()]);
    assert!(!comes_in(&bench, &good).await, "nobody knows what was revoked since");
    replace(&bench, &both, |material| {
        (material.client_crls, material.expired_crl) = (vec![old.clone()], Unsure::Accepted);
    });
    assert!(comes_in(&bench, &good).await);
    assert!(!comes_in(&bench, &revoked).await, "what is on it stays revoked");
    assert!(!comes_in(&bench, &partner).await, "of this authority there is no list");
    let now = clients.revokes(&[&revoked], GOOD).pem().unwrap().into_bytes();
    replace(&bench, &both, |material| {
        (material.client_crls, material.missing_crl) = (vec![now.clone()], Unsure::Accepted);
    });
    assert!(comes_in(&bench, &partner).await && comes_in(&bench, &good).await);
    assert!(!comes_in(&bench, &revoked).await);
    // Two lists in one file.
    let theirs = partners.revokes(&[], GOOD).pem().unwrap().into_bytes();
    replace(&bench, &both, |material| material.client_crls = vec![[now, theirs].concat()]);
    assert!(comes_in(&bench, &partner).await && !comes_in(&bench, &revoked).await);
}

#[tokio::test]
async fn a_list_of_somebody_else_revokes_nothing() {
    let (clients, others) = (Authority::new("clients"), Authority::new("clients"));
    let good = clients.issue("good.example", None);
    // Of the same name, and signed with another key.
    let forged = others.revokes(&[&good], GOOD).pem().unwrap().into_bytes();
    let bench = bench(&[&clients], |material| material.client_crls = vec![forged]);
    assert!(!comes_in(&bench, &good).await, "nor does it show that something was not revoked");
}

#[tokio::test]
async fn files_that_are_no_lists_are_refused_and_everything_stays() {
    let clients = Authority::new("clients");
    let revoked = clients.issue("revoked.example", None);
    let list = clients.revokes(&[&revoked], GOOD).pem().unwrap().into_bytes();
    let bench = bench(&[&clients], |material| material.client_crls = vec![list]);
    for file in [Vec::new(), b"no list".to_vec(), clients.pem.clone().into_bytes()] {
        let mut wrong = material(&bench.authority.issue("localhost", None));
        of(&mut wrong, &[&clients]);
        wrong.client_crls = vec![file];
        let error = bench.tls.as_ref().unwrap().replace(&wrong).unwrap_err();
        assert!(error.to_string().starts_with("the revocation lists cannot be used"), "{error}");
    }
    assert!(!comes_in(&bench, &revoked).await);
}

#[tokio::test]
async fn connections_with_certificates_end_when_files_are_read_anew() {
    let clients = Authority::new("clients");
    let revoked = clients.issue("revoked.example", None);
    let bench = bench(&[&clients], |_| {});
    let ask = b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut with = bench.connect(bench.authority.client(Some(&revoked), &[&TLS13])).await.unwrap();
    let mut without = bench.open().await;
    let mut buffer = [0; 1024];
    for stream in [&mut with, &mut without] {
        stream.write_all(ask).await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
    }
    let list = clients.revokes(&[&revoked], GOOD).pem().unwrap().into_bytes();
    replace(&bench, &[&clients], |material| material.client_crls = vec![list]);
    // What was on its way already is not answered as if nothing had happened.
    let _ = with.write_all(ask).await;
    let answer = Answer::read(&mut with).await;
    assert!(matches!(answer.status, 0 | 401), "{answer:?}");
    assert!(!comes_in(&bench, &revoked).await);
    without.write_all(ask).await.unwrap();
    assert!(without.read(&mut buffer).await.unwrap() > 0, "who showed none is not concerned");
}

#[tokio::test]
async fn the_authorities_that_vouch_are_told_and_those_sent_along_are_not() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let team = root.below("team");
    let mut member = team.issue("member.example", None);
    member.others.push(stranger.der.clone());
    let direct = root.issue("direct.example", None);
    let bench = bench(&[&root, &stranger], |_| {});
    assert_eq!(heard(&bench, &member, "/authorities").await, Some(format!("{:?}", [team.key, root.key])));
    assert_eq!(heard(&bench, &direct, "/authorities").await, Some(format!("{:?}", [root.key])));
}
