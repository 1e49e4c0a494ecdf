//! The suite every driver of this port passes, run from the driver's own tests.
//!
//! A driver shows the suite how to start over a medium: a fixture is one medium (a file, a device, or nothing at all),
//! and [`RootFixture::start`] is what a new process does with it. Dropping what was started and starting again is a
//! restart.

use futures::future::join_all;
use keyreeve_secret::{SecretBytes, SecretString};
use serde_json::Value;

use crate::{Initialised, Root, RootError, SealStatus, WRAP_MAX};

/// One medium a root lives on.
pub trait RootFixture {
    /// The driver.
    type Root: Root;
    /// What a new process does: nothing is configured yet.
    fn start(&self) -> Self::Root;
    /// Shares to make and shares needed; zeros for a root without shares.
    fn shares(&self) -> (u8, u8);
}

/// Runs the whole suite; `fixture` gives an empty medium at each call. Panics where the contract is broken.
pub async fn root_suite<F: RootFixture>(fixture: impl Fn() -> F) {
    nothing_works_before_initialisation(&fixture()).await;
    what_was_wrapped_unwraps(&fixture()).await;
    the_context_is_bound(&fixture()).await;
    every_altered_byte_is_noticed(&fixture()).await;
    a_sealed_root_refuses(&fixture()).await;
    a_restarted_root_opens_what_it_wrapped(&fixture()).await;
    another_root_does_not_unwrap(&fixture(), &fixture()).await;
    a_foreign_configuration_is_refused(&fixture(), &fixture()).await;
    initialising_twice_is_refused(&fixture()).await;
    secrets_have_a_largest_size(&fixture()).await;
    callers_do_not_disturb_each_other(&fixture()).await;
}

async fn initialised<F: RootFixture>(fixture: &F) -> (F::Root, Initialised) {
    let root = fixture.start();
    let (shares, threshold) = fixture.shares();
    let made = root.initialise(shares, threshold).await.unwrap();
    assert_eq!(made.shares.len(), usize::from(shares), "as many shares as asked for");
    assert_eq!(root.status(), SealStatus::Open, "initialisation leaves the root open");
    root.check().await.unwrap();
    (root, made)
}

/// Starts over the medium and opens with the shares, as far as there are any.
async fn restarted<F: RootFixture>(fixture: &F, public: &Value, shares: &[SecretString]) -> F::Root {
    let root = fixture.start();
    root.configure(public).await.unwrap();
    for share in shares.iter().take(usize::from(fixture.shares().1)) {
        root.unseal(share).await.unwrap();
    }
    assert_eq!(root.status(), SealStatus::Open);
    root.check().await.unwrap();
    root
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

async fn nothing_works_before_initialisation<F: RootFixture>(fixture: &F) {
    let root = fixture.start();
    let fresh = root.status();
    assert!(matches!(fresh, SealStatus::NotInitialised { .. }), "{fresh:?}");
    assert!(root.wrap(b"context", &secret("secret")).await.is_err());
    assert!(root.unwrap(b"context", &[0; 80]).await.is_err());
    assert!(root.unseal(&SecretString::copy_from("share")).await.is_err());
    assert!(matches!(root.check().await, Err(RootError::NotInitialised)));
    root.seal().await;
    assert_eq!(root.status(), fresh, "sealing nothing changes nothing");
}

async fn what_was_wrapped_unwraps<F: RootFixture>(fixture: &F) {
    let (root, _) = initialised(fixture).await;
    for len in [0, 1, 31, 32, 64, WRAP_MAX] {
        let plain = SecretBytes::init_with(len, |bytes| bytes.fill(0x5a));
        let wrapped = root.wrap(b"context", &plain).await.unwrap();
        let again = root.wrap(b"context", &plain).await.unwrap();
        assert_ne!(wrapped, again, "wrapping is not deterministic");
        assert_eq!(wrapped.len(), again.len());
        assert!(len < 16 || !wrapped.windows(16).any(|window| window == [0x5a; 16]), "the secret shows");
        assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(plain.expose()));
        assert!(root.unwrap(b"context", &again).await.unwrap().ct_eq(plain.expose()));
    }
}

async fn the_context_is_bound<F: RootFixture>(fixture: &F) {
    let (root, _) = initialised(fixture).await;
    let wrapped = root.wrap(b"keyring 1", &secret("kek")).await.unwrap();
    for other in [&b""[..], b"keyring 2", b"keyring 1\0", b"keyring ", b"keyring 11"] {
        assert!(matches!(root.unwrap(other, &wrapped).await, Err(RootError::Unwrap)), "{other:?}");
    }
    let without = root.wrap(b"", &secret("kek")).await.unwrap();
    assert!(root.unwrap(b"", &without).await.unwrap().ct_eq(b"kek"));
    assert!(matches!(root.unwrap(b"\0", &without).await, Err(RootError::Unwrap)));
}

async fn every_altered_byte_is_noticed<F: RootFixture>(fixture: &F) {
    let (root, _) = initialised(fixture).await;
    let wrapped = root.wrap(b"context", &secret("kek")).await.unwrap();
    let refused = async |bytes: &[u8]| matches!(root.unwrap(b"context", bytes).await, Err(RootError::Unwrap));
    for place in 0..wrapped.len() {
        for bit in 0..8 {
            let mut altered = wrapped.clone();
            altered[place] ^= 1 << bit;
            assert!(refused(&altered).await, "bit {bit} of byte {place}");
        }
        assert!(refused(&wrapped[..place]).await, "cut to {place} bytes");
    }
    assert!(refused(&[wrapped.as_slice(), &[0]].concat()).await, "a byte appended");
    assert!(refused(&[wrapped.as_slice(), wrapped.as_slice()].concat()).await, "appended to itself");
}

async fn a_sealed_root_refuses<F: RootFixture>(fixture: &F) {
    let (root, _) = initialised(fixture).await;
    let wrapped = root.wrap(b"context", &secret("kek")).await.unwrap();
    root.seal().await;
    let (_, threshold) = fixture.shares();
    assert!(matches!(root.status(), SealStatus::Sealed { given: 0, threshold: t, .. } if t == threshold));
    assert!(matches!(root.wrap(b"context", &secret("kek")).await, Err(RootError::Sealed)));
    assert!(matches!(root.unwrap(b"context", &wrapped).await, Err(RootError::Sealed)));
    assert!(matches!(root.check().await, Err(RootError::Sealed)));
    root.seal().await;
    assert!(matches!(root.status(), SealStatus::Sealed { .. }), "sealing twice is no error");
}

async fn a_restarted_root_opens_what_it_wrapped<F: RootFixture>(fixture: &F) {
    let (root, made) = initialised(fixture).await;
    let wrapped = root.wrap(b"context", &secret("kek")).await.unwrap();
    drop(root);
    // What was said in public survives being stored as text.
    let public: Value = serde_json::from_str(&made.public.to_string()).unwrap();
    let root = restarted(fixture, &public, &made.shares).await;
    assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
    assert!(matches!(root.configure(&public).await, Err(RootError::Already(_))), "configured once");
    drop(root);
    let last_first: Vec<_> = made.shares.iter().rev().map(SecretString::duplicate).collect();
    let root = restarted(fixture, &public, &last_first).await;
    assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
}

async fn another_root_does_not_unwrap<F: RootFixture>(one: &F, other: &F) {
    let (one, _) = initialised(one).await;
    let (other, _) = initialised(other).await;
    let wrapped = one.wrap(b"context", &secret("kek")).await.unwrap();
    assert!(matches!(other.unwrap(b"context", &wrapped).await, Err(RootError::Unwrap)));
}

async fn a_foreign_configuration_is_refused<F: RootFixture>(one: &F, other: &F) {
    let (_, ours) = initialised(one).await;
    let (_, theirs) = initialised(other).await;
    for nonsense in [Value::Null, serde_json::json!({}), serde_json::json!("x"), serde_json::json!([1, 2])] {
        assert!(one.start().configure(&nonsense).await.is_err(), "{nonsense}");
    }
    let mut more = ours.public.clone();
    more["unheard-of"] = Value::Bool(true);
    assert!(one.start().configure(&more).await.is_err(), "a field nobody knows");
    let root = one.start();
    // A root that opens itself finds out here; one with shares when they do not fit the set.
    let mut opened = root.configure(&theirs.public).await;
    for share in &ours.shares {
        if opened.is_ok() {
            opened = root.unseal(share).await.map(drop);
        }
    }
    assert!(opened.is_err(), "the configuration of another deployment");
    assert_ne!(root.status(), SealStatus::Open);
}

async fn initialising_twice_is_refused<F: RootFixture>(fixture: &F) {
    let (root, made) = initialised(fixture).await;
    let (shares, threshold) = fixture.shares();
    assert!(matches!(root.initialise(shares, threshold).await, Err(RootError::Already(_))));
    root.seal().await;
    assert!(matches!(root.initialise(shares, threshold).await, Err(RootError::Already(_))));
    drop(root);
    let root = fixture.start();
    root.configure(&made.public).await.unwrap();
    assert!(matches!(root.initialise(shares, threshold).await, Err(RootError::Already(_))));
}

async fn secrets_have_a_largest_size<F: RootFixture>(fixture: &F) {
    let (root, _) = initialised(fixture).await;
    let long = SecretBytes::init_with(WRAP_MAX + 1, |_| ());
    assert!(matches!(root.wrap(b"context", &long).await, Err(RootError::TooLong)));
}

async fn callers_do_not_disturb_each_other<F: RootFixture>(fixture: &F) {
    let (root, _) = initialised(fixture).await;
    let root = &root;
    join_all((0..32u8).map(|n| async move {
        let plain = SecretBytes::init_with(32, |bytes| bytes.fill(n));
        let wrapped = root.wrap(&[n], &plain).await.unwrap();
        assert!(root.unwrap(&[n], &wrapped).await.unwrap().ct_eq(plain.expose()));
    }))
    .await;
}
