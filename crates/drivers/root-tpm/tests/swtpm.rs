//! The port's suite over a TPM, and what is particular to one: what the PCRs say, another TPM, none at all.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::random::Random;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Anchor, AnchorError, Initialised, Root, RootError, SealStatus};
use keyreeve_root_tpm::{
    Approval, Bank, CounterOptions, Options, PcrValues, PolicyKey, Survey, TpmCounter, TpmRoot, Trouble, read_pcrs,
};
use keyreeve_secret::{SecretBytes, SecretString};
use keyreeve_tests::Swtpm;
use serde_json::Value;
use tempfile::TempDir;

/// PCRs that nothing resets but a start of the machine.
const PCRS: [u8; 3] = [4, 7, 11];

/// A machine with a TPM, and an operator with a policy key.
struct Machine {
    tpm: Swtpm,
    home: TempDir,
    random: Random,
    private: SecretBytes,
    public: PolicyKey,
}

impl Machine {
    /// One whose present PCRs are approved; none where there is no swtpm.
    fn new() -> Option<Self> {
        let (tpm, home) = (Swtpm::start()?, tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path().join("approvals")).unwrap();
        let random = Random::from_module().unwrap();
        let (private, public) = policy_key(&random);
        let machine = Self { tpm, home, random, private, public };
        machine.approve(&machine.present(), "first.json");
        Some(machine)
    }

    fn options(&self) -> Options {
        Options {
            device: self.tpm.device().parse().unwrap(),
            pcrs: BTreeSet::from(PCRS),
            bank: Bank::Sha256,
            policy_key: self.public.clone(),
            approvals: self.approvals(),
            sealed: self.sealed(),
            limit: Duration::from_secs(20),
        }
    }

    fn approvals(&self) -> PathBuf {
        self.home.path().join("approvals")
    }

    fn sealed(&self) -> PathBuf {
        self.home.path().join("root.tpm")
    }

    /// What the TPM calls its storage key, as another program sees it.
    fn parent(&self) -> String {
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
        let made = ["-C", "o", "-g", "sha256", "-G", "ecc256:aes256cfb", "-a", attributes, "-c", "parent.ctx"];
        let _ = self.tpm.tool("tpm2_createprimary", &made);
        let _ = self.tpm.tool("tpm2_readpublic", &["-c", "parent.ctx", "-n", "parent.name"]);
        hex::encode(std::fs::read(self.tpm.home().join("parent.name")).unwrap())
    }

    fn present(&self) -> PcrValues {
        read_pcrs(&self.tpm.device().parse().unwrap(), &self.random, Bank::Sha256, PCRS).unwrap()
    }

    fn approve(&self, values: &PcrValues, file: &str) {
        let approval = Approval::sign(&self.random, &self.private, values, "by a test").unwrap();
        std::fs::write(self.approvals().join(file), approval.to_json()).unwrap();
    }

    fn start(&self) -> TpmRoot {
        TpmRoot::new(self.options(), self.random.clone())
    }

    /// Started over what was initialised; why it is not open, if it is not.
    async fn restarted(&self, public: &Value) -> Result<TpmRoot, RootError> {
        let root = self.start();
        root.configure(public).await.map(|()| root)
    }

    /// A root with shares, and something that it wrapped.
    async fn initialised(&self, shares: (u8, u8)) -> (Initialised, Vec<u8>) {
        let root = self.start();
        let made = root.initialise(shares.0, shares.1).await.unwrap();
        let wrapped = root.wrap(b"context", &SecretBytes::copy_from(b"kek")).await.unwrap();
        (made, wrapped)
    }

    async fn opens(&self, public: &Value, wrapped: &[u8]) {
        let root = self.restarted(public).await.unwrap();
        assert_eq!(root.status(), SealStatus::Open);
        assert!(root.unwrap(b"context", wrapped).await.unwrap().ct_eq(b"kek"));
    }

    async fn refusal(&self, public: &Value) -> String {
        let refused = self.restarted(public).await.err().expect("it opened");
        assert!(matches!(refused, RootError::Unavailable(_)));
        refused.to_string()
    }
}

fn policy_key(random: &Random) -> (SecretBytes, PolicyKey) {
    let material = Material::generate(KeyAlgorithm::EcP256, random).unwrap();
    let public = PolicyKey::from_spki(material.public_key().unwrap().unwrap().spki()).unwrap();
    (material.serialize(), public)
}

/// The TPM opens the root at every start.
struct ByItself(Machine);

impl RootFixture for ByItself {
    type Root = TpmRoot;

    fn start(&self) -> TpmRoot {
        self.0.start()
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

/// The machine is another one at every start but the first: only shares open the root.
struct ByShares {
    machine: Machine,
    started: AtomicBool,
}

impl RootFixture for ByShares {
    type Root = TpmRoot;

    fn start(&self) -> TpmRoot {
        if self.started.swap(true, Ordering::SeqCst) {
            self.machine.tpm.extend(7);
        }
        self.machine.start()
    }

    fn shares(&self) -> (u8, u8) {
        (3, 2)
    }
}

#[tokio::test]
async fn it_conforms() {
    if Machine::new().is_some() {
        root_suite(|| ByItself(Machine::new().unwrap())).await;
    }
}

#[tokio::test]
async fn it_conforms_where_only_shares_open_it() {
    if Machine::new().is_some() {
        root_suite(|| ByShares { machine: Machine::new().unwrap(), started: AtomicBool::new(false) }).await;
    }
}

#[tokio::test]
async fn a_start_of_the_same_machine_opens_by_itself() {
    let Some(machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((0, 0)).await;
    machine.opens(&made.public, &wrapped).await;
    machine.tpm.restart();
    machine.opens(&made.public, &wrapped).await;
    let secret = std::fs::read_to_string(machine.sealed()).unwrap();
    let Value::Object(fields) = serde_json::from_str::<Value>(&secret).unwrap() else { panic!("{secret}") };
    assert_eq!(fields["set"], made.public["set"]);
    assert_eq!(fields["policy_key"], machine.public.name());
}

#[tokio::test]
async fn changed_pcrs_are_named_with_both_values() {
    let Some(machine) = Machine::new() else { return };
    let approved = machine.tpm.pcr(7);
    let (made, wrapped) = machine.initialised((0, 0)).await;
    machine.tpm.extend(7);
    let present = machine.tpm.pcr(7);
    let refused = machine.refusal(&made.public).await;
    assert_ne!(approved, present);
    assert!(refused.contains(&format!("PCR 7 is {present}, approved is {approved}")), "{refused}");
    assert!(refused.contains("first.json") && !refused.contains("PCR 4") && !refused.contains("PCR 11"), "{refused}");
    // What other PCRs hold says nothing.
    machine.tpm.restart();
    machine.tpm.extend(8);
    machine.opens(&made.public, &wrapped).await;
}

#[tokio::test]
async fn the_tpm_itself_refuses_what_was_not_approved() {
    let Some(machine) = Machine::new() else { return };
    let (made, _) = machine.initialised((0, 0)).await;
    // A file that lies about the present PCRs: its signature is good, of another key.
    machine.tpm.extend(7);
    let (private, public) = policy_key(&machine.random);
    let forged = Approval::sign(&machine.random, &private, &machine.present(), "").unwrap();
    let text = forged.to_json().replace(&public.name(), &machine.public.name());
    std::fs::write(machine.approvals().join("forged.json"), text).unwrap();
    let refused = machine.refusal(&made.public).await;
    assert!(refused.contains("PCR 7 is"), "the forged one is left out: {refused}");
    // Whoever may change the configuration, and so says that this key counts: the TPM does not take it.
    let sealed = std::fs::read_to_string(machine.sealed()).unwrap().replace(&machine.public.name(), &public.name());
    std::fs::write(machine.sealed(), sealed).unwrap();
    std::fs::write(machine.approvals().join("forged.json"), forged.to_json()).unwrap();
    let options = Options { policy_key: public, ..machine.options() };
    let root = TpmRoot::new(options, machine.random.clone());
    let refused = root.configure(&made.public).await.unwrap_err().to_string();
    assert!(refused.contains("changed while"), "{refused}");
}

#[tokio::test]
async fn the_next_start_is_approved_beforehand() {
    let Some(machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((0, 0)).await;
    let sealed = std::fs::read(machine.sealed()).unwrap();
    // What the machine will be after the update: seen on another one of its kind.
    machine.tpm.extend(11);
    let next = machine.present();
    machine.tpm.restart();
    machine.approve(&next, "kernel.json");
    machine.opens(&made.public, &wrapped).await;
    machine.tpm.restart();
    machine.tpm.extend(11);
    machine.opens(&made.public, &wrapped).await;
    assert_eq!(std::fs::read(machine.sealed()).unwrap(), sealed, "nothing was sealed anew");
    std::fs::remove_file(machine.approvals().join("kernel.json")).unwrap();
    machine.refusal(&made.public).await;
}

#[tokio::test]
async fn shares_open_where_the_tpm_refuses() {
    let Some(machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((3, 2)).await;
    let sealed = std::fs::read(machine.sealed()).unwrap();
    machine.tpm.extend(7);
    let root = machine.restarted(&made.public).await.unwrap();
    assert_eq!(root.status(), SealStatus::Sealed { given: 0, threshold: 2, shares: 3 });
    assert!(matches!(root.unwrap(b"context", &wrapped).await, Err(RootError::Sealed)));
    assert!(matches!(root.unseal(&SecretString::copy_from("x")).await, Err(RootError::NotAShare)));
    let once = root.unseal(&made.shares[2]).await.unwrap();
    assert_eq!(once, SealStatus::Sealed { given: 1, threshold: 2, shares: 3 });
    assert!(matches!(root.unseal(&made.shares[2]).await, Err(RootError::DuplicateShare(3))));
    assert_eq!(root.unseal(&made.shares[0]).await.unwrap(), SealStatus::Open);
    assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
    assert_eq!(std::fs::read(machine.sealed()).unwrap(), sealed, "it is good for this TPM: an approval is missing");
    machine.approve(&machine.present(), "second.json");
    machine.opens(&made.public, &wrapped).await;
}

#[tokio::test]
async fn another_tpm_does_not_open_it_until_shares_were_given_and_an_operator_consented() {
    let Some(machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((3, 2)).await;
    let sealed = std::fs::read(machine.sealed()).unwrap();
    machine.tpm.replace();
    let opened = async || {
        let root = machine.restarted(&made.public).await.unwrap();
        assert_eq!(root.status(), SealStatus::Sealed { given: 0, threshold: 2, shares: 3 });
        for share in &made.shares[..2] {
            root.unseal(share).await.unwrap();
        }
        assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
    };
    // It may be anybody's TPM: shares open the root, and it is told nothing.
    opened().await;
    assert_eq!(std::fs::read(machine.sealed()).unwrap(), sealed);
    // A consent to another one.
    let consent = machine.home.path().join("root.tpm.reseal");
    std::fs::write(&consent, "000b".to_owned() + &"00".repeat(32)).unwrap();
    opened().await;
    assert_eq!(std::fs::read(machine.sealed()).unwrap(), sealed);
    std::fs::write(&consent, machine.parent() + "\n").unwrap();
    opened().await;
    machine.opens(&made.public, &wrapped).await;
    assert!(!consent.exists(), "it is good once");
    // With the file lost nothing says which TPM it was.
    std::fs::remove_file(machine.sealed()).unwrap();
    opened().await;
    assert!(!machine.sealed().exists());
    std::fs::write(&consent, machine.parent()).unwrap();
    opened().await;
    machine.opens(&made.public, &wrapped).await;
}

#[tokio::test]
async fn without_shares_another_tpm_is_the_end() {
    let Some(machine) = Machine::new() else { return };
    let (made, _) = machine.initialised((0, 0)).await;
    machine.tpm.replace();
    let refused = machine.refusal(&made.public).await;
    assert!(refused.contains("another TPM"), "{refused}");
    assert!(matches!(machine.start().unseal(&SecretString::copy_from("x")).await, Err(RootError::NotInitialised)));
}

#[tokio::test]
async fn a_policy_key_is_changed_with_shares() {
    let Some(mut machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((1, 1)).await;
    let before = machine.public.name();
    (machine.private, machine.public) = policy_key(&machine.random);
    machine.approve(&machine.present(), "first.json");
    let root = machine.restarted(&made.public).await.unwrap();
    root.unseal(&made.shares[0]).await.unwrap();
    machine.opens(&made.public, &wrapped).await;
    assert!(!std::fs::read_to_string(machine.sealed()).unwrap().contains(&before));
}

#[tokio::test]
async fn a_tpm_that_is_away_may_come_back() {
    let Some(machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((0, 0)).await;
    machine.tpm.stop();
    let root = machine.start();
    let refused = root.configure(&made.public).await.unwrap_err();
    assert!(matches!(refused, RootError::Unavailable(_)), "{refused}");
    assert!(matches!(machine.start().initialise(0, 0).await, Err(RootError::Unavailable(_))));
    machine.tpm.restart();
    root.configure(&made.public).await.unwrap();
    // Open, it does not need it.
    machine.tpm.stop();
    root.check().await.unwrap();
    assert!(root.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
}

#[tokio::test]
async fn what_killed_processes_left_in_the_tpm_is_cleared_away() {
    let Some(machine) = Machine::new() else { return };
    let (made, wrapped) = machine.initialised((0, 0)).await;
    let mut full = raw(&machine.tpm, START_SESSION);
    while full.0 == 0 {
        full = raw(&machine.tpm, START_SESSION);
    }
    assert_eq!(full.0, 0x903, "TPM_RC_SESSION_MEMORY");
    for _ in 0..2 {
        machine.opens(&made.public, &wrapped).await;
    }
    // And nothing is left of ours.
    for (range, what) in [("handles-transient", "objects"), ("handles-loaded-session", "sessions")] {
        assert_eq!(machine.tpm.tool("tpm2_getcap", &[range]).trim(), "", "{what}");
    }
}

/// An unsalted session for HMACs, by hand: part 3, 11.1.
const START_SESSION: &str =
    "8001 0000002b 00000176 40000007 40000007 0010 00000000000000000000000000000000 0000 00 0010 000b";

/// Sends a command in another program's words; its response code and what follows.
fn raw(tpm: &Swtpm, command: &str) -> (u32, Vec<u8>) {
    let bytes = hex::decode(command.replace(' ', "")).unwrap();
    let device = tpm.device();
    let mut stream = TcpStream::connect(device.strip_prefix("swtpm:").unwrap()).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut response = vec![0; 4096];
    let read = stream.read(&mut response).unwrap();
    (u32::from_be_bytes(response[6..10].try_into().unwrap()), response[10..read].to_vec())
}

#[tokio::test]
async fn initialising_needs_an_approval_and_takes_over_what_it_finds() {
    let Some(machine) = Machine::new() else { return };
    std::fs::rename(machine.approvals().join("first.json"), machine.home.path().join("kept")).unwrap();
    let refused = machine.start().initialise(0, 0).await.unwrap_err().to_string();
    assert!(refused.contains("no approval") && refused.contains("keyreeve root tpm approve"), "{refused}");
    assert!(!machine.sealed().exists());
    std::fs::rename(machine.home.path().join("kept"), machine.approvals().join("first.json")).unwrap();
    for (shares, threshold) in [(1, 0), (2, 1), (3, 4), (0, 1), (33, 2)] {
        assert!(matches!(machine.start().initialise(shares, threshold).await, Err(RootError::Shares { .. })));
    }
    let (first, wrapped) = machine.initialised((3, 2)).await;
    let sealed = std::fs::read(machine.sealed()).unwrap();
    let (second, _) = machine.initialised((5, 3)).await;
    assert_eq!(second.public["set"], first.public["set"]);
    assert_eq!(std::fs::read(machine.sealed()).unwrap(), sealed);
    machine.opens(&second.public, &wrapped).await;
    assert!(machine.restarted(&first.public).await.is_ok());
}

#[tokio::test]
async fn a_survey_tells_and_changes_nothing() {
    let Some(machine) = Machine::new() else { return };
    let survey = || Survey::take(&machine.options(), &machine.random);
    let before = survey();
    assert_eq!(before.approved.unwrap(), "first.json");
    assert!(before.opens.is_none() && !machine.sealed().exists());
    machine.initialised((0, 0)).await;
    assert!(survey().opens.unwrap().is_ok());
    machine.tpm.extend(4);
    let changed = survey();
    assert!(changed.approved.unwrap_err().to_string().contains("PCR 4 is") && changed.opens.is_none());
    machine.tpm.replace();
    assert!(matches!(survey().opens, Some(Err(Trouble::OtherTpm))));
    machine.tpm.stop();
    assert!(matches!(survey().approved, Err(Trouble::Silent(_))));
}

#[tokio::test]
async fn tpm2_tools_compute_the_same_policies() {
    let Some(machine) = Machine::new() else { return };
    let approval = Approval::sign(&machine.random, &machine.private, &machine.present(), "").unwrap();
    let text: Value = serde_json::from_str(&approval.to_json()).unwrap();
    let tool = |program: &str, args: &[&str]| machine.tpm.tool(program, args);
    let _ = tool("tpm2_startauthsession", &["-S", "trial.ctx"]);
    let _ = tool("tpm2_policypcr", &["-S", "trial.ctx", "-l", "sha256:4,7,11", "-L", "pcr.policy"]);
    let _ = tool("tpm2_flushcontext", &["trial.ctx"]);
    let theirs = std::fs::read(machine.tpm.home().join("pcr.policy")).unwrap();
    assert_eq!(text["policy"], hex::encode(theirs));
    for pcr in PCRS {
        assert_eq!(text["pcrs"][pcr.to_string()], machine.tpm.pcr(pcr));
    }
}

/// What passes between a driver and its TPM.
struct Tap {
    device: String,
    seen: Arc<std::sync::Mutex<Vec<u8>>>,
    alters: Arc<AtomicBool>,
}

impl Tap {
    /// Stands before the TPM and notes everything; alters the first byte of what is unsealed once it is told to.
    fn before(tpm: &Swtpm) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let device = format!("swtpm:{}", listener.local_addr().unwrap());
        let (seen, alters) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let tap = Self { device, seen: Arc::clone(&seen), alters: Arc::clone(&alters) };
        let behind = tpm.device().strip_prefix("swtpm:").unwrap().to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let there = TcpStream::connect(&behind).unwrap();
                relay(stream, there, &seen, &alters);
            }
        });
        tap
    }
}

fn relay(mut here: TcpStream, mut there: TcpStream, seen: &std::sync::Mutex<Vec<u8>>, alters: &AtomicBool) {
    let mut bytes = vec![0; 4096];
    while let Ok(read @ 1..) = here.read(&mut bytes) {
        let unseals = bytes[6..10] == [0, 0, 1, 0x5e];
        seen.lock().unwrap().extend_from_slice(&bytes[..read]);
        there.write_all(&bytes[..read]).unwrap();
        let read = there.read(&mut bytes).unwrap();
        seen.lock().unwrap().extend_from_slice(&bytes[..read]);
        if unseals && alters.load(Ordering::SeqCst) {
            bytes[16] ^= 1;
        }
        here.write_all(&bytes[..read]).unwrap();
    }
}

#[tokio::test]
async fn whoever_reads_along_learns_nothing_and_whoever_alters_is_noticed() {
    let Some(machine) = Machine::new() else { return };
    let tap = Tap::before(&machine.tpm);
    let options = Options { device: tap.device.parse().unwrap(), ..machine.options() };
    let tapped = || TpmRoot::new(options.clone(), machine.random.clone());
    // The only share of one is the key itself.
    let made = tapped().initialise(1, 1).await.unwrap();
    tapped().configure(&made.public).await.unwrap();
    let share = keyreeve_crypto::shamir::Share::from_text(made.shares[0].expose()).unwrap();
    let key = keyreeve_crypto::shamir::combine([share]).unwrap();
    let seen = tap.seen.lock().unwrap().clone();
    assert!(seen.len() > 5000 && !seen.windows(16).any(|window| key.expose().windows(16).any(|part| part == window)));
    tap.alters.store(true, Ordering::SeqCst);
    let root = tapped();
    root.configure(&made.public).await.unwrap();
    assert_eq!(root.status(), SealStatus::Sealed { given: 0, threshold: 1, shares: 1 });
    tap.alters.store(false, Ordering::SeqCst);
    let root = tapped();
    root.configure(&made.public).await.unwrap();
    assert_eq!(root.status(), SealStatus::Open);
}

#[tokio::test]
async fn the_counter_never_goes_back() {
    let Some(machine) = Machine::new() else { return };
    let options =
        CounterOptions { device: machine.options().device, index: TpmCounter::INDEX, limit: Duration::from_secs(20) };
    let counter = || TpmCounter::new(options.clone(), machine.random.clone());
    let count = async || counter().read().await.unwrap().count;
    assert_eq!(count().await, None);
    let first = counter().advance(None, b"").await.unwrap();
    assert_eq!(counter().advance(Some(first), b"").await, Ok(first + 1));
    assert_eq!(counter().advance(Some(first), b"").await, Err(AnchorError::Moved { found: Some(first + 1) }));
    let device = counter().read().await.unwrap().device;
    assert!(device.is_some(), "it says which TPM it is");
    machine.tpm.restart();
    assert_eq!(count().await, Some(first + 1));
    assert_eq!(counter().read().await.unwrap().device, device);
    // Not even for whoever removes it.
    let index = format!("{:#x}", TpmCounter::INDEX);
    let _ = machine.tpm.tool("tpm2_nvundefine", &["-C", "o", &index]);
    assert_eq!(count().await, None);
    assert!(counter().advance(None, b"").await.unwrap() > first + 1);
    // Nor for whoever puts something else there, which holds yesterday's count.
    let _ = machine.tpm.tool("tpm2_nvundefine", &["-C", "o", &index]);
    let attributes = "authread|authwrite|ownerread|ownerwrite|no_da";
    let _ = machine.tpm.tool("tpm2_nvdefine", &["-C", "o", "-s", "8", "-a", attributes, &index]);
    std::fs::write(machine.tpm.home().join("count"), first.to_be_bytes()).unwrap();
    let _ = machine.tpm.tool("tpm2_nvwrite", &["-C", "o", "-i", "count", &index]);
    for told in [counter().read().await.unwrap_err(), counter().advance(Some(first), b"").await.unwrap_err()] {
        assert!(matches!(told, AnchorError::Damaged(_)) && told.to_string().contains("is not the counter"), "{told}");
    }
    machine.tpm.stop();
    assert!(matches!(counter().read().await, Err(AnchorError::Unavailable(_))));
}

#[tokio::test]
async fn the_counter_passes_the_suite_of_anchors() {
    let Some(machine) = Machine::new() else { return };
    let options =
        CounterOptions { device: machine.options().device, index: 0x0180_4b53, limit: Duration::from_secs(20) };
    let counter = Arc::new(TpmCounter::new(options, machine.random.clone()));
    keyreeve_root::anchor_suite::run(|| Arc::clone(&counter) as Arc<dyn Anchor>).await;
}
