//! The suite every driver of this port passes, run from the driver's own tests.
//!
//! A driver shows the suite how to start over a medium: a fixture is one medium, and [`VaultFixture::start`] is what a
//! new process does with it. Dropping what was started and starting again is a restart.

use futures::future::join_all;
use keyreeve_model::KeyringId;

use crate::{EpochId, EpochVault, VaultError, WRAPPED_MAX};

/// One medium an epoch vault lives on.
pub trait VaultFixture {
    /// The driver.
    type Vault: EpochVault;
    /// What a new process does.
    fn start(&self) -> Self::Vault;
}

/// Runs the whole suite; `fixture` gives an empty medium at each call. Panics where the contract is
/// broken.
pub async fn vault_suite<F: VaultFixture>(fixture: impl Fn() -> F) {
    what_was_put_is_there(&fixture()).await;
    epochs_are_told_apart(&fixture()).await;
    nothing_is_overwritten(&fixture()).await;
    what_is_replaced_is_there_in_place_of_the_former(&fixture()).await;
    nothing_is_replaced_that_is_not_there(&fixture()).await;
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
    vault.check().await.unwrap();
    assert_eq!(vault.get(epoch(1, 0, 1)).await.unwrap(), None);
    let contents = [vec![], vec![0], vec![7; 73], (0..=255).cycle().take(WRAPPED_MAX).collect::<Vec<u8>>()];
    for (n, content) in (1..).zip(&contents) {
        vault.put(epoch(1, 0, n), content).await.unwrap();
        assert_eq!(vault.get(epoch(1, 0, n)).await.unwrap().as_ref(), Some(content));
    }
    drop(vault);
    let vault = fixture.start();
    vault.check().await.unwrap();
    for (n, content) in (1..).zip(&contents) {
        assert_eq!(vault.get(epoch(1, 0, n)).await.unwrap().as_ref(), Some(content), "after a restart");
    }
}

async fn what_is_replaced_is_there_in_place_of_the_former<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    vault.put(epoch(1, 0, 1), b"under the first").await.unwrap();
    vault.put(epoch(1, 0, 2), b"neighbour").await.unwrap();
    assert!(vault.replace(epoch(1, 0, 1), b"under the second, and longer").await.unwrap());
    assert_eq!(vault.get(epoch(1, 0, 1)).await.unwrap().as_deref(), Some(&b"under the second, and longer"[..]));
    let readers = join_all((0..64u8).map(|n| {
        let vault = &vault;
        async move {
            if n % 2 == 0 {
                return vault.replace(epoch(1, 0, 1), &[n; 100]).await.unwrap();
            }
            let seen = vault.get(epoch(1, 0, 1)).await.unwrap().unwrap();
            seen == b"under the second, and longer" || seen.iter().all(|byte| *byte == seen[0])
        }
    }));
    assert!(readers.await.into_iter().all(|whole| whole), "a reader gets one or the other, whole");
    assert!(vault.replace(epoch(1, 0, 1), b"last").await.unwrap());
    drop(vault);
    let vault = fixture.start();
    assert_eq!(vault.get(epoch(1, 0, 1)).await.unwrap().as_deref(), Some(&b"last"[..]), "after a restart");
    assert_eq!(vault.get(epoch(1, 0, 2)).await.unwrap().as_deref(), Some(&b"neighbour"[..]));
    assert_eq!(vault.list().await.unwrap(), [epoch(1, 0, 1), epoch(1, 0, 2)]);
}

async fn nothing_is_replaced_that_is_not_there<F: VaultFixture>(fixture: &F) {
    let vault = fixture.start();
    assert!(!vault.replace(epoch(1, 0, 1), b"nothing before").await.unwrap());
    vault.put(epoch(1, 0, 1), b"one").await.unwrap();
    assert!(!vault.replace(epoch(1, 0, 2), b"another epoch").await.unwrap());
    vault.erase(epoch(1, 0, 1)).await.unwrap();
    assert!(!vault.replace(epoch(1, 0, 1), b"erased").await.unwrap());
    assert_eq!(vault.list().await.unwrap(), []);
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
