//! The suites every driver of this port passes, run from the driver's own tests.
//!
//! A driver shows the suite how to start over a medium: a fixture is one medium (a directory, a device, or nothing at
//! all), and [`RootFixture::start`] or [`VaultFixture::start`] is what a new process does with it. Dropping what was
//! started and starting again is a restart.

use futures::future::join_all;
use keyreeve_model::KeyringId;
use keyreeve_secret::{SecretBytes, SecretString};
use serde_json::Value;

use crate::{EpochId, EpochVault, Initialised, Root, RootError, SealStatus, VaultError, WRAP_MAX};

/// One medium a root lives on.
pub trait RootFixture {
    /// The driver.
    type Root: Root;
    /// What a new process does: nothing is configured yet.
    fn start(&self) -> Self::Root;
    /// Shares to make and shares needed; zeros for a root without shares.
    fn shares(&self) -> (u8, u8);
}

/// Runs the whole suite for roots; `fixture` gives an empty medium at each call. Panics where the contract is broken.
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
    root
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

async fn nothing_works_before_initialisation<F: RootFixture>(fixture: &F) {
    let root = fixture.start();
    assert_eq!(root.status(), SealStatus::NotInitialised);
    assert!(root.wrap(b"context", &secret("secret")).await.is_err());
    assert!(root.unwrap(b"context", &[0; 80]).await.is_err());
    assert!(root.unseal(&SecretString::copy_from("share")).await.is_err());
    root.seal().await;
    assert_eq!(root.status(), SealStatus::NotInitialised, "sealing nothing changes nothing");
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

/// One medium an epoch vault lives on.
pub trait VaultFixture {
    /// The driver.
    type Vault: EpochVault;
    /// What a new process does.
    fn start(&self) -> Self::Vault;
}

/// Runs the whole suite for epoch vaults; `fixture` gives an empty medium at each call. Panics where the contract is
/// broken.
pub async fn vault_suite<F: VaultFixture>(fixture: impl Fn() -> F) {
    what_was_put_is_there(&fixture()).await;
    epochs_are_told_apart(&fixture()).await;
    nothing_is_overwritten(&fixture()).await;
    what_was_erased_is_gone(&fixture()).await;
    the_list_is_complete_and_in_order(&fixture()).await;
    one_of_many_puts_wins(&fixture()).await;
    many_epochs_at_once(&fixture()).await;
}

fn epoch(keyring: u8, shard: u32, epoch: u64) -> EpochId {
    EpochId { keyring: KeyringId::from_bytes([keyring; 16]), shard, epoch }
}

async fn what_was_put_is_there<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    assert_eq!(vault.get(epoch(1, 0, 1)).await.unwrap(), None);
    let contents = [vec![], vec![0], vec![7; 73], (0..=255).cycle().take(WRAP_MAX + 64).collect::<Vec<u8>>()];
    for (n, content) in (1..).zip(&contents) {
        vault.put(epoch(1, 0, n), content).await.unwrap();
        assert_eq!(vault.get(epoch(1, 0, n)).await.unwrap().as_ref(), Some(content));
    }
    drop(vault);
    let vault = fixture.start();
    for (n, content) in (1..).zip(&contents) {
        assert_eq!(vault.get(epoch(1, 0, n)).await.unwrap().as_ref(), Some(content), "after a restart");
    }
}

async fn epochs_are_told_apart<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    let ids = [epoch(1, 1, 1), epoch(2, 1, 1), epoch(1, 11, 1), epoch(1, 1, 11), epoch(1, u32::MAX, u64::MAX)];
    for (n, id) in (0u8..).zip(ids) {
        assert_eq!(vault.get(id).await.unwrap(), None);
        vault.put(id, &[n]).await.unwrap();
    }
    for (n, id) in (0u8..).zip(ids) {
        assert_eq!(vault.get(id).await.unwrap(), Some(vec![n]));
    }
}

async fn nothing_is_overwritten<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    let id = epoch(1, 0, 1);
    vault.put(id, b"first").await.unwrap();
    assert!(matches!(vault.put(id, b"second").await, Err(VaultError::Exists(that)) if that == id));
    assert!(matches!(vault.put(id, b"first").await, Err(VaultError::Exists(_))));
    assert_eq!(vault.get(id).await.unwrap(), Some(b"first".to_vec()));
}

async fn what_was_erased_is_gone<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    vault.erase(epoch(9, 9, 9)).await.unwrap();
    for n in 1..=3 {
        vault.put(epoch(1, 0, n), &[1; 60]).await.unwrap();
    }
    vault.erase(epoch(1, 0, 2)).await.unwrap();
    assert_eq!(vault.get(epoch(1, 0, 2)).await.unwrap(), None);
    vault.erase(epoch(1, 0, 2)).await.unwrap();
    drop(vault);
    let vault = fixture.start();
    assert_eq!(vault.get(epoch(1, 0, 2)).await.unwrap(), None, "after a restart");
    assert_eq!(vault.list().await.unwrap(), [epoch(1, 0, 1), epoch(1, 0, 3)]);
    assert_eq!(vault.get(epoch(1, 0, 3)).await.unwrap(), Some(vec![1; 60]));
}

async fn the_list_is_complete_and_in_order<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    assert_eq!(vault.list().await.unwrap(), []);
    let mut ids = vec![epoch(2, 0, 10), epoch(2, 0, 9), epoch(1, 10, 1), epoch(1, 9, 2), epoch(1, 9, 100)];
    for id in &ids {
        vault.put(*id, b"x").await.unwrap();
    }
    ids.sort_unstable();
    assert_eq!(vault.list().await.unwrap(), ids);
    drop(vault);
    assert_eq!(fixture.start().list().await.unwrap(), ids, "after a restart");
}

async fn one_of_many_puts_wins<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    let vault = &vault;
    let id = epoch(1, 0, 1);
    let outcomes = join_all((0..16u8).map(|n| async move { (n, vault.put(id, &[n; 40]).await) })).await;
    let winners: Vec<u8> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "exactly one caller adds an epoch");
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Ok(()) | Err(VaultError::Exists(_)))));
    assert_eq!(vault.get(id).await.unwrap(), Some(vec![winners[0]; 40]));
}

async fn many_epochs_at_once<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    let vault = &vault;
    join_all((0..64u32).map(|n| async move {
        let id = epoch((n % 3) as u8, n, 1);
        vault.put(id, &n.to_be_bytes()).await.unwrap();
        assert_eq!(vault.get(id).await.unwrap(), Some(n.to_be_bytes().to_vec()));
        if n % 2 == 0 {
            vault.erase(id).await.unwrap();
        }
    }))
    .await;
    let left = vault.list().await.unwrap();
    assert_eq!(left.len(), 32);
    assert!(left.iter().all(|id| id.shard % 2 == 1));
}
