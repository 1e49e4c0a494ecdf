//! The root in shares: the port's suite, and what is particular to shares.
#![allow(clippy::unwrap_used)]

use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::shamir::Share;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Initialised, Root, RootError, SealStatus};
use keyreeve_root_software::ShamirRoot;
use keyreeve_secret::{SecretBytes, SecretString};
use proptest::prelude::*;

struct Fixture(u8, u8);

impl RootFixture for Fixture {
    type Root = ShamirRoot;

    fn start(&self) -> ShamirRoot {
        root()
    }

    fn shares(&self) -> (u8, u8) {
        (self.0, self.1)
    }
}

fn root() -> ShamirRoot {
    ShamirRoot::new(Random::from_module().unwrap())
}

/// A deployment, one secret it wrapped, and a root of it that was started anew.
async fn deployment(shares: u8, threshold: u8) -> (Initialised, Vec<u8>, ShamirRoot) {
    let first = root();
    let made = first.initialise(shares, threshold).await.unwrap();
    let wrapped = first.wrap(b"context", &SecretBytes::copy_from(b"kek")).await.unwrap();
    let again = root();
    again.configure(&made.public).await.unwrap();
    (made, wrapped, again)
}

fn sealed(given: u8, threshold: u8, shares: u8) -> SealStatus {
    SealStatus::Sealed { given, threshold, shares }
}

#[tokio::test]
async fn it_conforms() {
    root_suite(|| Fixture(1, 1)).await;
    root_suite(|| Fixture(2, 2)).await;
    root_suite(|| Fixture(5, 3)).await;
    root_suite(|| Fixture(32, 32)).await;
}

#[tokio::test]
async fn progress_is_told() {
    let (made, wrapped, root) = deployment(5, 3).await;
    assert_eq!(root.status(), sealed(0, 3, 5));
    assert_eq!(root.unseal(&made.shares[4]).await.unwrap(), sealed(1, 3, 5));
    assert_eq!(root.unseal(&made.shares[0]).await.unwrap(), sealed(2, 3, 5));
    assert_eq!(root.status(), sealed(2, 3, 5));
    assert!(matches!(root.unwrap(b"context", &wrapped).await, Err(RootError::Sealed)));
    assert_eq!(root.unseal(&made.shares[2]).await.unwrap(), SealStatus::Open);
    assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
    assert!(matches!(root.unseal(&made.shares[1]).await, Err(RootError::Already(_))));
}

#[tokio::test]
async fn sealing_forgets_the_shares_given() {
    let (made, wrapped, root) = deployment(3, 2).await;
    root.unseal(&made.shares[0]).await.unwrap();
    root.seal().await;
    assert_eq!(root.status(), sealed(0, 2, 3));
    assert_eq!(root.unseal(&made.shares[0]).await.unwrap(), sealed(1, 2, 3));
    root.unseal(&made.shares[1]).await.unwrap();
    root.seal().await;
    assert!(matches!(root.unwrap(b"context", &wrapped).await, Err(RootError::Sealed)));
    root.unseal(&made.shares[1]).await.unwrap();
    assert_eq!(root.unseal(&made.shares[2]).await.unwrap(), SealStatus::Open);
    assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
}

#[tokio::test]
async fn mistakes_are_told_apart_and_lose_nothing() {
    let (made, _, root) = deployment(3, 2).await;
    let (theirs, _, _) = deployment(3, 2).await;
    root.unseal(&made.shares[0]).await.unwrap();
    let good = made.shares[1].expose();
    let last = if good.ends_with('a') { "b" } else { "a" };
    let misspelt = SecretString::from(format!("{}{last}", &good[..good.len() - 1]));
    for text in ["", "share", &good[..good.len() - 2], &good[2..], misspelt.expose(), &good.repeat(2)] {
        let refused = root.unseal(&SecretString::copy_from(text)).await;
        assert!(matches!(refused, Err(RootError::NotAShare)), "{text}: {refused:?}");
    }
    assert!(matches!(root.unseal(&theirs.shares[1]).await, Err(RootError::ForeignShare)));
    assert!(matches!(root.unseal(&made.shares[0]).await, Err(RootError::DuplicateShare(1))));
    assert_eq!(root.status(), sealed(1, 2, 3));
    assert_eq!(root.unseal(&made.shares[1]).await.unwrap(), SealStatus::Open);
}

#[tokio::test]
async fn what_is_told_in_public_cannot_be_altered() {
    let (made, _, _) = deployment(5, 3).await;
    let altered = |field: &str, value: serde_json::Value| {
        let mut public = made.public.clone();
        public[field] = value;
        public
    };
    for (field, value) in
        [("threshold", 2.into()), ("shares", 4.into()), ("shares", 6.into()), ("check", "00".repeat(32).into())]
    {
        let root = root();
        root.configure(&altered(field, value)).await.unwrap();
        let mut outcome = Ok(root.status());
        for share in made.shares.iter().take(3) {
            if outcome.is_ok() {
                outcome = root.unseal(share).await;
            }
        }
        assert!(matches!(outcome, Err(RootError::WrongShares)), "{field}: {outcome:?}");
        assert!(matches!(root.status(), SealStatus::Sealed { given: 0, .. }), "all shares are forgotten");
    }
    for (field, value) in [("threshold", 1), ("threshold", 0), ("threshold", 6), ("shares", 33), ("shares", 300)] {
        assert!(root().configure(&altered(field, value.into())).await.is_err(), "{field} {value}");
    }
    for (field, value) in [("format", "keyreeve-shamir-2"), ("set", "00"), ("check", "0g")] {
        assert!(root().configure(&altered(field, value.into())).await.is_err(), "{field} {value}");
    }
}

#[tokio::test]
async fn impossible_numbers_are_refused() {
    for (shares, threshold) in [(0, 0), (1, 0), (2, 1), (3, 4), (33, 2), (255, 255), (1, 2), (0, 1)] {
        let root = root();
        let refused = root.initialise(shares, threshold).await;
        assert!(matches!(refused, Err(RootError::Shares { .. })), "{threshold} of {shares}");
        assert_eq!(root.status(), SealStatus::NotInitialised { people: true });
    }
}

#[tokio::test]
async fn shares_differ_and_the_key_is_in_none_of_the_public_parts() {
    let (made, _, _) = deployment(5, 3).await;
    let public = made.public.to_string();
    for (n, share) in made.shares.iter().enumerate() {
        assert!(made.shares[n + 1..].iter().all(|other| !share.ct_eq(other.expose())));
        assert!(!public.contains(share.expose()));
    }
    assert_eq!(format!("{:?}", made.shares[0]), "[secret]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sufficient_choice_of_shares_opens(
        (shares, threshold) in (2..=9u8).prop_flat_map(|shares| (Just(shares), 2..=shares)),
        order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (made, wrapped, root) = deployment(shares, threshold).await;
            let chosen = order.iter().filter_map(|n| made.shares.get(*n)).take(usize::from(threshold));
            for share in chosen {
                assert_ne!(root.status(), SealStatus::Open);
                root.unseal(share).await.unwrap();
            }
            assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
        });
    }
}

/// Made by a holder who knows the format: right in every checksum, wrong in the value.
fn forged(share: &SecretString) -> SecretString {
    let mut bytes = Share::from_text(share.expose()).unwrap().to_bytes();
    let body = bytes.len() - 4;
    bytes.expose_mut()[body - 1] ^= 1;
    let sum = sha256(&bytes.expose()[..body]);
    bytes.expose_mut()[body..].copy_from_slice(&sum[..4]);
    Share::from_bytes(bytes.expose()).unwrap().to_text()
}

#[tokio::test]
async fn a_forged_share_never_opens() {
    let (made, wrapped, root) = deployment(3, 2).await;
    root.unseal(&made.shares[0]).await.unwrap();
    assert!(matches!(root.unseal(&forged(&made.shares[1])).await, Err(RootError::WrongShares)));
    assert_eq!(root.status(), sealed(0, 2, 3), "all shares are forgotten");
    assert!(matches!(root.unwrap(b"context", &wrapped).await, Err(RootError::Sealed)));
    root.unseal(&made.shares[0]).await.unwrap();
    assert_eq!(root.unseal(&made.shares[1]).await.unwrap(), SealStatus::Open);
}
