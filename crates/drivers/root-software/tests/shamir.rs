//! The root in shares: the port's suite, and what is particular to shares.
#![allow(clippy::unwrap_used)]

use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::shamir::Share;
use keyreeve_model::UnixMillis;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Exchanging, Gathering, Initialised, NewShares, Root, RootError, SealStatus};
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
    let mut swapped = made.public["keys"].as_array().unwrap().clone();
    swapped.swap(0, 1);
    for (field, value) in [
        ("threshold", 2.into()),
        ("version", 2.into()),
        ("root", "00".repeat(16).into()),
        ("keys", swapped.into()),
        ("check", "00".repeat(32).into()),
    ] {
        let root = root();
        root.configure(&altered(field, value)).await.unwrap();
        let mut outcome = Ok(root.status());
        for share in made.shares.iter().take(3) {
            if outcome.is_ok() {
                outcome = root.unseal(share).await;
            }
        }
        assert!(matches!(outcome, Err(RootError::WrongShares | RootError::ForgedShare(_))), "{field}: {outcome:?}");
        assert!(matches!(root.status(), SealStatus::Sealed { given: 0, .. }), "all shares are forgotten");
    }
    let impossible = [("threshold", 1), ("threshold", 0), ("threshold", 6), ("shares", 33), ("shares", 300)];
    for (field, value) in impossible.into_iter().chain([("shares", 4), ("shares", 6), ("version", 0)]) {
        assert!(root().configure(&altered(field, value.into())).await.is_err(), "{field} {value}");
    }
    for (field, value) in
        [("format", "keyreeve-shamir-1"), ("format", "keyreeve-shamir-3"), ("set", "00"), ("check", "0g")]
    {
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
    for _ in 0..3 {
        assert!(matches!(root.unseal(&forged(&made.shares[1])).await, Err(RootError::ForgedShare(2))));
    }
    assert!(matches!(root.unseal(&forged(&made.shares[0])).await, Err(RootError::ForgedShare(1))));
    assert_eq!(root.status(), sealed(1, 2, 3), "it is refused alone");
    assert!(matches!(root.unwrap(b"context", &wrapped).await, Err(RootError::Sealed)));
    assert_eq!(root.unseal(&made.shares[1]).await.unwrap(), SealStatus::Open);
}

/// There is nothing to tell a single share by in sets of before: they are seen through together.
#[tokio::test]
async fn a_forged_share_of_before_never_opens() {
    let root = root();
    root.configure(&serde_json::from_str(before::PUBLIC).unwrap()).await.unwrap();
    let old = before::SHARES.map(SecretString::copy_from);
    root.unseal(&old[0]).await.unwrap();
    assert!(matches!(root.unseal(&forged(&old[1])).await, Err(RootError::WrongShares)));
    assert_eq!(root.status(), sealed(0, 2, 3), "all shares are forgotten");
    root.unseal(&old[2]).await.unwrap();
    assert_eq!(root.unseal(&old[1]).await.unwrap(), SealStatus::Open);
}

/// What `ShamirRoot` of the version before exchanges left behind: 2 of 3.
mod before {
    pub(super) const PUBLIC: &str = r#"{
        "format": "keyreeve-shamir-1", "set": "89cf4062f0effa47c985b53cc7f406a8", "shares": 3, "threshold": 2,
        "check": "f0f1c3eaabafaa6a3dd89fccbdc9ef8c5b56ea824944bf84aa30d0bf4e932180"
    }"#;
    pub(super) const SHARES: [&str; 3] = [
        "krs1-0410-60c9-sx06-5w7f-z93w-k1dn-7k3z-81n8-cazj-ppkc-54ve-19q3-450q-a5sx-a70n-xakm-t217-1zjj-7fdv-psg9-\
         875v-80ak-11hr-g5rk-2yy4-sh2r-hgga-hpbd-kc4e-1qkg-p2nz-rnye-tnnk-kyf1-nbcm-6",
        "krs1-0410-60m9-sx06-5w7f-z93w-k1dn-7k3z-81n8-cazj-ppkc-54ve-19q3-450q-a5sx-a7cw-phfa-hy7z-qaw5-eb34-bkp8-\
         25at-g5hx-bgwg-cw2n-009c-5ezk-ckhd-hmq4-e2jf-jmea-hssq-df5v-85t8-4anx-5ceh-2",
        "krs1-0410-60w9-sx06-5w7f-z93w-k1dn-7k3z-81n8-cazj-ppkc-54ve-19q3-450q-a5sx-a78v-htb9-q9yr-5668-qk6y-cqvy-\
         47b5-a6ze-k47q-s94y-1p0v-gsv3-7hag-28ka-5700-fqan-dmxz-ksb1-rj4e-q4mz-knaa-w",
    ];
    /// "a kek of before" for "keyring 1".
    pub(super) const WRAPPED: &str = "0108ba8f883dfe3a56997540ed824f7d697ec7c35b453a0b0ad38865bfe63453813bffd5989d84a2f\
                                      6b0af24abd32f90cc2041527f2fe1a2";
}

const AT: UnixMillis = UnixMillis(1_795_390_000_000);

async fn opened(public: &serde_json::Value, shares: &[&SecretString]) -> Result<ShamirRoot, RootError> {
    let root = root();
    root.configure(public).await?;
    for share in shares {
        root.unseal(share).await?;
    }
    Ok(root)
}

/// The one exchange of most tests.
fn of(shares: u8, threshold: u8) -> Exchanging {
    Exchanging { id: [1; 32], shares, threshold }
}

/// Gives shares until there is a new set.
async fn exchanged(root: &ShamirRoot, given: &[&SecretString], (shares, threshold): (u8, u8)) -> NewShares {
    for share in given {
        if let Gathering::Made(new) = root.exchange_share(of(shares, threshold), share).await.unwrap() {
            return new;
        }
    }
    panic!("not enough shares");
}

#[tokio::test]
async fn a_deployment_of_before_opens_and_gets_new_shares() {
    let public = serde_json::from_str(before::PUBLIC).unwrap();
    let old = before::SHARES.map(SecretString::copy_from);
    let wrapped = hex::decode(before::WRAPPED).unwrap();
    let root = opened(&public, &[&old[2], &old[0]]).await.unwrap();
    assert!(root.unwrap(b"keyring 1", &wrapped).await.unwrap().ct_eq(b"a kek of before"));
    assert_eq!(root.share_set().unwrap().keys.len(), 0, "they had no proofs");
    let new = exchanged(&root, &[&old[1], &old[2]], (4, 3)).await;
    let replacement = root.replacement(&new.public, AT).unwrap();
    root.adopt_shares(&replacement).await.unwrap();
    assert_eq!(root.share_set().unwrap(), new.set);
    let again = opened(&replacement, &[&new.shares[3], &new.shares[1], &new.shares[0]]).await.unwrap();
    assert!(again.unwrap(b"keyring 1", &wrapped).await.unwrap().ct_eq(b"a kek of before"), "the root stayed");
    let refused = opened(&replacement, &[&old[0]]).await.err().unwrap();
    assert!(matches!(refused, RootError::ReplacedShare { version: 1, current: 2, at: AT }), "{refused:?}");
    assert!(refused.to_string().contains("version 1") && refused.to_string().contains(&AT.to_string()));
}

#[tokio::test]
async fn until_the_new_set_is_adopted_the_old_one_opens() {
    let (made, wrapped, root) = deployment(3, 2).await;
    let [a, b, c] = &made.shares[..] else { panic!() };
    assert!(matches!(root.exchange_share(of(3, 2), a).await, Err(RootError::Sealed)));
    root.unseal(a).await.unwrap();
    root.unseal(b).await.unwrap();
    assert!(matches!(root.exchange_share(of(5, 3), c).await, Ok(Gathering::Given { given: 1, threshold: 2 })));
    assert!(matches!(root.exchange_share(of(5, 3), c).await, Err(RootError::DuplicateShare(3))));
    assert_eq!(root.exchange_given(), 1);
    assert!(matches!(root.exchange_share(of(5, 1), c).await, Err(RootError::Shares { .. })));
    let new = exchanged(&root, &[a], (5, 3)).await;
    assert_eq!((new.shares.len(), new.set.version, new.set.threshold, new.set.keys.len()), (5, 2, 3, 5));
    let repeated = exchanged(&root, &[b], (5, 3)).await;
    assert_eq!(repeated.set, new.set, "the set that was made is told again");
    // A crash here: the parameters of before open with the shares of before, and with no others.
    let again = opened(&made.public, &[a, c]).await.unwrap();
    assert!(again.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
    assert!(matches!(opened(&made.public, &[&new.shares[0]]).await, Err(RootError::ForeignShare)));
    // And after a restart the new set can still be adopted: nothing of it is in memory.
    let replacement = again.replacement(&new.public, AT).unwrap();
    again.adopt_shares(&replacement).await.unwrap();
    again.seal().await;
    assert!(matches!(again.unseal(a).await, Err(RootError::ReplacedShare { version: 1, current: 2, .. })));
    for share in &new.shares[..3] {
        again.unseal(share).await.unwrap();
    }
    assert!(again.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
}

#[tokio::test]
async fn shares_given_to_one_exchange_do_not_count_for_another_of_the_same_numbers() {
    let (made, _, root) = deployment(3, 2).await;
    let [a, b, c] = &made.shares[..] else { panic!() };
    root.unseal(a).await.unwrap();
    root.unseal(b).await.unwrap();
    let one = of(3, 2);
    let other = Exchanging { id: [2; 32], ..one };
    assert!(matches!(root.exchange_share(one, a).await, Ok(Gathering::Given { given: 1, .. })));
    assert!(matches!(root.exchange_share(other, b).await, Ok(Gathering::Given { given: 1, .. })));
    assert!(matches!(root.exchange_share(other, c).await, Ok(Gathering::Made(_))));
    // Nor is the set that was made for one told to whoever gives a share to the other.
    assert!(matches!(root.exchange_share(one, a).await, Ok(Gathering::Given { given: 1, .. })));
}

#[tokio::test]
async fn a_root_that_nothing_hangs_on_is_initialised_again_in_the_same_process() {
    let root = root();
    let lost = root.initialise(3, 2).await.unwrap();
    assert!(matches!(root.initialise(3, 2).await, Err(RootError::Already(_))));
    root.disown().await;
    let made = root.initialise(3, 2).await.unwrap();
    root.seal().await;
    assert!(matches!(root.unseal(&lost.shares[0]).await, Err(RootError::ForeignShare)));
    root.unseal(&made.shares[0]).await.unwrap();
}

#[tokio::test]
async fn a_set_that_does_not_follow_is_not_adopted() {
    let (made, _, root) = deployment(2, 2).await;
    let (theirs, _, their_root) = deployment(2, 2).await;
    for (root, made) in [(&root, &made), (&their_root, &theirs)] {
        root.unseal(&made.shares[0]).await.unwrap();
        root.unseal(&made.shares[1]).await.unwrap();
    }
    let new = exchanged(&root, &[&made.shares[0], &made.shares[1]], (3, 2)).await;
    let foreign = exchanged(&their_root, &[&theirs.shares[0], &theirs.shares[1]], (3, 2)).await;
    let altered = |field: &str, value: serde_json::Value| {
        let mut public = new.public.clone();
        public[field] = value;
        public
    };
    let bad = [
        foreign.public,
        made.public.clone(),
        altered("version", 3.into()),
        altered("threshold", 3.into()),
        altered("set", "11".repeat(16).into()),
        altered("root", "11".repeat(16).into()),
    ];
    for public in bad {
        assert!(root.replacement(&public, AT).is_err(), "{public}");
        assert!(root.adopt_shares(&public).await.is_err(), "{public}");
    }
    assert_eq!(root.share_set().unwrap().version, 1);
    root.forget_shares().await;
    assert!(matches!(root.exchange_share(of(3, 2), &made.shares[0]).await, Ok(Gathering::Given { given: 1, .. })));
    let forged = root.exchange_share(of(3, 2), &forged(&made.shares[1])).await;
    assert!(matches!(forged, Err(RootError::ForgedShare(2))), "{forged:?}");
    assert_eq!(root.exchange_given(), 1, "it was refused alone");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Set after set: any sufficient choice of the newest opens, no other does, and sets do not mix.
    #[test]
    fn only_the_newest_set_opens(
        sets in proptest::collection::vec((2..=6u8).prop_flat_map(|n| (Just(n), 2..=n)), 2..5),
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (shares, threshold) = sets[0];
            let (made, wrapped, root) = deployment(shares, threshold).await;
            let (mut public, mut all) = (made.public, vec![made.shares]);
            for share in &all[0][..usize::from(threshold)] {
                root.unseal(share).await.unwrap();
            }
            for numbers in &sets[1..] {
                let present: Vec<_> = all.last().unwrap().iter().collect();
                let new = exchanged(&root, &present, *numbers).await;
                public = root.replacement(&new.public, AT).unwrap();
                root.adopt_shares(&public).await.unwrap();
                all.push(new.shares);
            }
            let (newest, before) = all.split_last().unwrap();
            let needed = usize::from(sets.last().unwrap().1);
            let chosen: Vec<_> = order.iter().filter_map(|n| newest.get(*n)).take(needed).collect();
            let opened_root = opened(&public, &chosen).await.unwrap();
            assert!(opened_root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
            for (version, old) in (1..).zip(before) {
                let mixed = opened(&public, &[chosen[0], &old[0]]).await;
                let told = matches!(mixed, Err(RootError::ReplacedShare { version: v, .. }) if v == version);
                assert!(told, "version {version}");
            }
        });
    }
}
