//! Escrow: keys deposited with agents who do not manage them, campaigns, and keys that come back (requirement T7). The
//! agents read their shares with the real `age`.

use keyreeve_crypto::escrow::{answer, open};
use keyreeve_crypto::shamir::{Share, combine};
use keyreeve_crypto::{KeyAlgorithm, Material, Purpose, Random, TransportPrivate, WrappingMethod};
use keyreeve_engine::ops::LabelPatch;
use keyreeve_engine::ops::destruction::{DescribeDestruction, Schedule};
use keyreeve_engine::ops::escrow::{
    AbandonRecovery, AcceptKey, Deposit, Deposits, Describe, EscrowKeyReply, EscrowReply, Give, HandInRehearsal,
    MadeKey, MakeKey, OpenCampaign, Recover, RecoverSpec, SetPolicy, ShowRecovery, VerifyShare,
};
use keyreeve_engine::ops::grants::{Create as Grant, Wanted};
use keyreeve_engine::ops::keys::{CreateSpec, Describe as DescribeKey, MetadataPatch, Update};
use keyreeve_engine::ops::lifecycle::Rotate;
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::shares::HolderSpec;
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::escrow::{Campaign, Deposit as Record, EscrowKey, EscrowKeyState, EscrowRule, RecoveryState};
use keyreeve_model::grant::Constraints;
use keyreeve_model::holders::{self, Person, ShareProof, ShareSetId};
use keyreeve_model::{KeyId, NoticeKind};
use keyreeve_secret::{SecretBytes, SecretString};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Council, DAY, House, Member, Who, create, key_of, label, name};

/// People with `age` keys of theirs.
pub(crate) struct Agents {
    home: tempfile::TempDir,
    specs: Vec<HolderSpec>,
}

fn output(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

impl Agents {
    pub(crate) fn new(names: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let spec = |who: &&str| {
            let file = output(&mut Command::new("age-keygen"), b"");
            std::fs::write(home.path().join(who), &file).unwrap();
            let file = String::from_utf8(file).unwrap();
            let key = file.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
            let person = Person { name: name(who), organisation: label("Notary"), contact: label("") };
            HolderSpec { person, fingerprint: key.clone(), key }
        };
        let specs = names.iter().map(spec).collect();
        Self { home, specs }
    }

    fn make(&self, threshold: u8) -> MakeKey {
        MakeKey { threshold, agents: self.specs.clone(), reason: label("the law") }
    }

    /// What each agent reads in the own text.
    fn shares(&self, made: &MadeKey) -> Vec<SecretString> {
        let read = |handed: &keyreeve_engine::ops::shares::HandedText| {
            let mut age = Command::new("age");
            age.arg("-d").arg("-i").arg(self.home.path().join(handed.person.name.as_str()));
            let text = output(&mut age, handed.text.as_bytes());
            SecretString::from_utf8(SecretBytes::from_vec(text)).unwrap()
        };
        made.shares.iter().map(read).collect()
    }
}

fn proof(share: &SecretString, challenge: &str) -> VerifyShare {
    let share = Share::from_text(share.expose()).unwrap();
    let challenge: holders::Challenge = challenge.parse().unwrap();
    let signature = share.prove(&challenge.bytes()).unwrap().try_into().unwrap();
    VerifyShare { proof: ShareProof { set: ShareSetId(share.set_id()), share: share.index(), signature } }
}

pub(crate) fn everything() -> SetPolicy {
    SetPolicy { rules: vec![EscrowRule::default()], reason: label("the law") }
}

/// A house that has an escrow key of two of three agents: their shares.
pub(crate) async fn escrowed(house: &House, agents: &Agents) -> Vec<SecretString> {
    let made = house.ask(agents.make(2)).await;
    let shares = agents.shares(&made);
    assert_eq!(house.code(AcceptKey { confirmed: Default::default() }).await, Code::WrongState, "nobody has shown");
    for share in &shares {
        house.ask(proof(share, made.challenge.as_deref().unwrap())).await;
    }
    house.ask(AcceptKey { confirmed: Default::default() }).await;
    shares
}

pub(crate) async fn deposits(house: &House, key: &KeyRef) -> Vec<Record> {
    house.ask(Deposits { key: Some(id(key)), after: None, limit: 100 }).await.items
}

fn id(key: &KeyRef) -> KeyId {
    match key {
        KeyRef::Id(id) => *id,
        KeyRef::Alias(_) => panic!("an id"),
    }
}

fn versions(deposits: &[Record]) -> Vec<(u32, u32)> {
    deposits.iter().map(|deposit| (deposit.version, deposit.escrow)).collect()
}

async fn told(house: &House, kind: NoticeKind) -> Vec<String> {
    house.engine().deliver(0).await;
    house.posts[0]
        .taken()
        .into_iter()
        .filter(|notice| notice.kind == kind)
        .map(|notice| notice.subject.to_string())
        .collect()
}

#[tokio::test]
async fn what_the_policy_names_is_deposited_with_its_material_and_brought_in_line_afterwards() {
    let (house, agents) = (House::new().await, Agents::new(&["alice", "bob", "carol"]));
    let early = house.aead().await;
    assert_eq!(house.code(Deposit { key: early.clone() }).await, Code::WrongState, "there is no escrow yet");
    house.ask(everything()).await;
    house.pass(60_000).await;
    assert_eq!(told(&house, NoticeKind::EscrowOverdue).await.len(), 1, "keys are named, and there is no escrow key");
    escrowed(&house, &agents).await;
    let new = house.aead().await;
    assert_eq!(versions(&deposits(&house, &new).await), [(1, 1)]);
    house.ask(Rotate { key: new.clone(), reason: label("due") }).await;
    assert_eq!(versions(&deposits(&house, &new).await), [(1, 1), (2, 1)]);
    assert!(deposits(&house, &early).await.is_empty());
    house.pass(60_000).await;
    assert_eq!(versions(&deposits(&house, &early).await), [(1, 1)], "the server saw to it");
    assert_eq!(house.ask(Deposit { key: early.clone() }).await.kept, [1], "and by command nothing changes");
    let signing =
        key_of(&house.make(CreateSpec { purpose: Some(Purpose::Sign), ..create(KeyAlgorithm::Ed25519) }).await);
    assert_eq!(house.code(Deposit { key: signing.clone() }).await, Code::WrongState, "signature keys never are");
    let health = house.engine().escrow_health();
    assert_eq!((health.keys, health.missing), (2, 0));

    let labelled = EscrowRule { labels: [(name("escrow"), label("yes"))].into(), ..EscrowRule::default() };
    house.ask(SetPolicy { rules: vec![labelled], reason: label("less") }).await;
    let labels = LabelPatch::Replace([(name("escrow"), label("yes"))].into());
    let patch = MetadataPatch { labels, ..MetadataPatch::default() };
    house.ask(Update { key: early.clone(), patch }).await;
    house.pass(60_000).await;
    assert!(deposits(&house, &new).await.is_empty(), "what is not named any more is in no escrow");
    assert_eq!(versions(&deposits(&house, &early).await), [(1, 1)]);
    house.verify_log().await;
}

#[tokio::test]
async fn a_new_escrow_key_takes_the_place_of_the_old_one_under_every_deposit() {
    let (house, agents) = (House::new().await, Agents::new(&["alice", "bob", "carol"]));
    house.ask(everything()).await;
    escrowed(&house, &agents).await;
    let key = house.aead().await;
    let others = Agents::new(&["dave", "erin", "frank"]);
    house.ask(others.make(3)).await;
    house.ask(others.make(2)).await;
    let status = house.ask(Describe).await;
    let states: Vec<_> = status.keys.iter().map(|reply| (reply.key.version, reply.key.state)).collect();
    assert_eq!(states, [(1, EscrowKeyState::Active), (3, EscrowKeyState::Waiting)], "the one nobody took is gone");
    assert_eq!(versions(&deposits(&house, &key).await), [(1, 1)]);
    escrowed(&house, &others).await;
    house.pass(60_000).await;
    assert_eq!(versions(&deposits(&house, &key).await), [(1, 4)]);
    let left: Vec<u32> = house.ask(Describe).await.keys.iter().map(|reply| reply.key.version).collect();
    assert_eq!(left, [4], "shares of the one before open nothing");
    let twice = MakeKey { agents: vec![others.specs[0].clone(), others.specs[0].clone()], ..others.make(2) };
    assert_eq!(house.code(twice).await, Code::InvalidRequest);
    let alone = MakeKey { agents: vec![others.specs[0].clone()], ..others.make(1) };
    assert_eq!(house.code(alone).await, Code::InvalidRequest, "nobody opens deposits alone");
}

fn newest(status: &EscrowReply) -> (&EscrowKeyReply, &Campaign) {
    (status.keys.last().unwrap(), &status.campaign.as_ref().unwrap().campaign)
}

/// What the sealed process does: two shares, the private half, the answer.
fn rehearsed(status: &EscrowReply, shares: &[SecretString]) -> HandInRehearsal {
    let (reply, campaign) = newest(status);
    let shares = shares.iter().map(|share| Share::from_text(share.expose()).unwrap());
    let (key, secret) = (&reply.key, combine(shares).unwrap());
    let context = EscrowKey::context(key.version, &key.fingerprint);
    let private = open(&secret, &context, key.public().unwrap().algorithm(), &key.private.0).unwrap();
    let context = Campaign::context(campaign.number, campaign.escrow);
    let answer = answer(&private, &context, &campaign.challenge.0).unwrap();
    HandInRehearsal { number: campaign.number, answer }
}

#[tokio::test]
async fn each_quarter_every_agent_shows_the_share_and_the_shares_combine() {
    let (house, agents) = (House::new().await, Agents::new(&["alice", "bob", "carol"]));
    house.ask(everything()).await;
    let shares = escrowed(&house, &agents).await;
    house.pass(60_000).await;
    let first = house.ask(Describe).await;
    assert_eq!(first.campaign.as_ref().unwrap().missing, ["rehearsal"], "the proofs of the beginning count once");
    let done = house.ask(rehearsed(&first, &shares[1..])).await;
    assert!(done.campaign.verified && done.missing.is_empty());
    assert_eq!(house.code(rehearsed(&first, &shares[..2])).await, Code::WrongState, "it is over");

    house.pass(90 * DAY).await;
    assert_eq!(told(&house, NoticeKind::EscrowCampaign).await.len(), 2, "each quarter");
    let second = house.ask(Describe).await;
    let (key, campaign) = newest(&second);
    assert_eq!((campaign.number, second.campaign.as_ref().unwrap().missing.len()), (2, 4));
    let challenge = key.challenge.clone().unwrap();
    let stranger = house.welcome(House::person("courier", &[])).await;
    let proved = house.call(&stranger, proof(&shares[0], &challenge)).await.unwrap().reply;
    assert_eq!((proved.share, proved.agent, proved.version), (1, Some(name("alice")), 1));
    let old = HandInRehearsal { number: 2, ..rehearsed(&first, &shares[..2]) };
    assert_eq!(house.code(old).await, Code::InvalidShare, "the answer to another campaign");
    house.pass(14 * DAY).await;
    assert!(house.engine().escrow_health().campaign_overdue);
    house.pass(DAY).await;
    assert_eq!(told(&house, NoticeKind::EscrowOverdue).await.len(), 1);
    house.pass(7 * DAY).await;
    assert_eq!(told(&house, NoticeKind::EscrowOverdue).await.len(), 1, "again each week");
    house.ask(proof(&shares[1], &challenge)).await;
    house.ask(proof(&shares[2], &challenge)).await;
    assert!(!house.ask(Describe).await.campaign.unwrap().campaign.verified, "shares that exist may not combine");
    assert!(house.ask(rehearsed(&second, &shares[..2])).await.campaign.verified);
    house.pass(60_000).await;
    assert!(!house.engine().escrow_health().campaign_overdue);
    house.ask(OpenCampaign).await;
    assert_eq!(house.ask(Describe).await.campaign.unwrap().campaign.number, 3);
    house.verify_log().await;
}

/// People who consent, an escrow administrator, the agents' shares, and a key that may leave.
struct Table {
    council: Council,
    esther: Member,
    /// Whoever carries shares: no right of theirs is needed.
    courier: Who,
    shares: Vec<SecretString>,
    key: KeyRef,
    free: KeyRef,
}

impl Table {
    async fn laid() -> Self {
        let council = Council::gathered().await;
        let house = &council.house;
        let esther = Member::join(house, "esther", &["escrow-administrator"]).await;
        house.ask(everything()).await;
        let shares = escrowed(house, &Agents::new(&["alice", "bob", "carol"])).await;
        let key = house.aead().await;
        let exportable = CreateSpec { exportable: true, ..create(KeyAlgorithm::Xaes256Gcm) };
        let free = key_of(&house.make(exportable).await);
        let courier = house.welcome(House::person("courier", &[])).await;
        house.call(&council.olga.who, Enact).await.unwrap();
        Self { council, esther, courier, shares, key, free }
    }

    async fn agreed(&self, recover: impl Fn() -> Recover) -> keyreeve_engine::ops::escrow::RecoveryReply {
        let house = &self.council.house;
        let waits = self.esther.waits(house, recover()).await;
        self.council.sue.approve(house, waits).await;
        assert_eq!(house.code_for(&self.esther.who, recover()).await, Code::ApprovalNeeded, "one is not two");
        self.council.lea.approve(house, waits).await;
        house.call(&self.esther.who, recover()).await.unwrap().reply
    }

    /// The material of the key is lost.
    async fn lose(&mut self) {
        self.council.house.crash();
        let sql = self.council.house.sql();
        let lost = sql.execute("DELETE FROM material WHERE key_id = ?1", [id(&self.key).as_bytes()]).unwrap();
        assert!(lost > 0);
        self.council.house.reopen().await;
    }
}

fn recover(key: &KeyRef, recipient: Option<&TransportPrivate>) -> Recover {
    let recipient = recipient.map(|private| private.public().unwrap());
    Recover(RecoverSpec { key: key.clone(), version: 1, recipient, reason: label("it was lost") })
}

#[tokio::test]
async fn lost_material_comes_back_with_two_consents_and_two_agents() {
    let mut table = Table::laid().await;
    let message = table.council.house.encrypt(&table.key, b"kept").await;
    let there = table.council.house.code_for(&table.esther.who, recover(&table.key, None)).await;
    assert_eq!(there, Code::WrongState, "nothing is lost yet");
    table.lose().await;
    let house = &table.council.house;
    assert_eq!(house.code(House::decrypting(&table.key, &message)).await, Code::Tampered);
    let begun = table.agreed(|| recover(&table.key, None)).await;
    let give = |share: &SecretString| Give { recovery: begun.recovery.id, share: share.duplicate() };
    let agent = &table.courier;
    let first = house.call(agent, give(&table.shares[2])).await.unwrap().reply;
    assert_eq!((first.given, first.needed, first.done), (1, 2, false));
    assert_eq!(house.code_for(agent, give(&table.shares[2])).await, Code::InvalidShare, "one agent is not two");
    assert_eq!(house.code(House::decrypting(&table.key, &message)).await, Code::Tampered);
    let last = house.call(agent, give(&table.shares[0])).await.unwrap().reply;
    assert!(last.done);
    assert_eq!(house.decrypt(&table.key, &message).await, b"kept");
    assert_eq!(house.code_for(agent, give(&table.shares[1])).await, Code::WrongState, "it is over");

    let shown = house.call(&table.esther.who, ShowRecovery { recovery: begun.recovery.id }).await.unwrap().reply;
    assert!(matches!(shown.recovery.state, RecoveryState::Done { .. }));
    assert!(shown.recovery.wrapped.is_none());
    assert_eq!(shown.recovery.agents.into_iter().collect::<Vec<_>>(), ["alice", "carol"]);
    let records = house.records().await;
    let given =
        records.iter().rfind(|record| record.operation == "escrow.give-share" && record.outcome.code().is_none());
    assert_eq!(records.iter().filter(|record| record.operation == "escrow.give-share").count(), 4);
    assert!(given.is_some());
    let done = records.iter().find(|record| record.details.contains_key("agents")).unwrap();
    assert_eq!((&*done.details["agents"], &*done.details["requested_by"]), ("alice, carol", "esther"));
    for share in &table.shares {
        let text = &share.expose()[share.expose().find("krs2-").unwrap()..][60..90];
        assert!(records.iter().all(|record| !format!("{record:?}").contains(text)), "a share is in the log");
    }
    assert_eq!(told(house, NoticeKind::EscrowRecovery).await.len(), 2);
    house.verify_log().await;
}

#[tokio::test]
async fn a_key_that_may_leave_comes_out_wrapped_and_no_other_does() {
    let table = Table::laid().await;
    let house = &table.council.house;
    let private = TransportPrivate::generate(WrappingMethod::X25519MlKem768, None, &Random::from_module().unwrap());
    let private = private.unwrap();
    let fixed = house.code_for(&table.esther.who, recover(&table.key, Some(&private))).await;
    assert_eq!(fixed, Code::WrongKeyUse, "escrow is no way around that a key was not made for it");
    let begun = table.agreed(|| recover(&table.free, Some(&private))).await;
    for share in &table.shares[..2] {
        house.ask(Give { recovery: begun.recovery.id, share: share.duplicate() }).await;
    }
    let shown = house.call(&table.esther.who, ShowRecovery { recovery: begun.recovery.id }).await.unwrap().reply;
    let bytes = private.unwrap(b"", &shown.recovery.wrapped.unwrap().0).unwrap();
    assert!(Material::import(KeyAlgorithm::Xaes256Gcm, &bytes).is_ok());
    let left = house.ask(DescribeKey { key: table.free.clone() }).await.key.departures().last().cloned().unwrap();
    assert_eq!((left.by, left.recipient), (name("esther"), private.public().unwrap().fingerprint().to_string()));
}

#[tokio::test]
async fn shares_that_are_not_the_agents_and_recoveries_that_are_over_give_nothing() {
    let mut table = Table::laid().await;
    table.lose().await;
    let begun = table.agreed(|| recover(&table.key, None)).await;
    let house = &table.council.house;
    let id = begun.recovery.id;
    let secret = SecretBytes::copy_from(&[7; 32]);
    let forged = keyreeve_crypto::shamir::split(&Random::from_module().unwrap(), &secret, (2, 3), 1).unwrap();
    for text in [forged[0].to_text(), SecretString::copy_from("krs2-0000"), SecretString::copy_from("")] {
        assert_eq!(house.code(Give { recovery: id, share: text }).await, Code::InvalidShare);
    }
    let again = house.code_for(&table.esther.who, recover(&table.key, None)).await;
    assert_eq!(again, Code::WrongState, "one at a time");
    house.ask(Give { recovery: id, share: table.shares[0].duplicate() }).await;
    let gone = AbandonRecovery { recovery: id, reason: label("found elsewhere") };
    house.call(&table.esther.who, gone).await.unwrap();
    let late = Give { recovery: id, share: table.shares[1].duplicate() };
    assert_eq!(house.code(late).await, Code::WrongState);
    let second = table.agreed(|| recover(&table.key, None)).await;
    house.ask(Give { recovery: second.recovery.id, share: table.shares[0].duplicate() }).await;
    house.clock.turn(DAY);
    let late = Give { recovery: second.recovery.id, share: table.shares[1].duplicate() };
    assert_eq!(house.code(late).await, Code::WrongState, "a day is over");
}

#[tokio::test]
async fn nothing_comes_back_without_the_consent_of_two_whatever_rules_there_are() {
    let (mut house, agents) = (House::new().await, Agents::new(&["alice", "bob", "carol"]));
    house.ask(everything()).await;
    escrowed(&house, &agents).await;
    let key = house.aead().await;
    house.crash();
    house.sql().execute("DELETE FROM material WHERE key_id = ?1", [id(&key).as_bytes()]).unwrap();
    house.reopen().await;
    let refused = house.call(&house.developer, recover(&key, None)).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::OtherPersonNeeded);
    assert!(refused.error.public().contains("Recovering a key from escrow"), "{}", refused.error.public());
}

/// What was destroyed does not come back: not from the deposit, which goes with it, nor from an old copy of its row.
#[tokio::test]
async fn a_deposit_dies_with_its_key_and_lives_on_with_its_neighbour() {
    let (mut house, agents) = (House::new().await, Agents::new(&["alice", "bob", "carol"]));
    house.ask(everything()).await;
    escrowed(&house, &agents).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    let old = deposits(&house, &gone).await;
    let row: Vec<u8> = house
        .sql()
        .query_row("SELECT record FROM filed WHERE parent = ?1", [id(&gone).to_string()], |row| row.get(0))
        .unwrap();
    house.ask(Schedule { key: gone.clone(), days: 7, reason: label("over") }).await;
    house.pass(8 * DAY).await;
    assert!(deposits(&house, &gone).await.is_empty());
    let shown = house.ask(DescribeDestruction { key: gone.clone() }).await.0;
    assert!(shown.verified.iter().any(|check| check.contains("in escrow")), "{:?}", shown.verified);
    assert_eq!(house.code(recover(&gone, None)).await, Code::WrongState);
    assert_eq!(house.code(Deposit { key: gone.clone() }).await, Code::WrongState);
    let fresh = deposits(&house, &kept).await;
    assert_eq!(fresh.len(), 1, "the neighbour's was made anew");
    assert!(fresh[0].epoch > old[0].epoch);
    assert!(house.ask(Deposit { key: kept }).await.made.is_empty());
    // Whoever kept the row: the epoch that it was under is in no vault any more.
    let copy: Record = serde_json::from_slice(&row).unwrap();
    let id = keyreeve_epochs::EpochId { keyring: copy.keyring, shard: copy.shard, epoch: copy.epoch };
    let vault: &dyn keyreeve_epochs::EpochVault = house.vault();
    assert!(vault.get(id).await.unwrap().is_none());
    house.reopen().await;
    house.verify_log().await;
}

#[tokio::test]
async fn one_person_never_administers_both_keys_and_escrow() {
    let house = House::new().await;
    let both = House::putting("ann", &["key-admin", "escrow-administrator"]);
    assert_eq!(house.code(both).await, Code::WrongState);
    house.ask(House::putting("ann", &["key-admin"])).await;
    assert_eq!(house.code(House::putting("ann", &["key-admin", "escrow-administrator"])).await, Code::WrongState);
    let mut other = House::person("ann-2", &["escrow-administrator"]);
    other.person = Some(label("ann"));
    assert_eq!(
        house.code(keyreeve_engine::ops::principals::Put::new(other)).await,
        Code::WrongState,
        "under whatever name"
    );
    house.ask(House::putting("esther", &["escrow-administrator"])).await;
    let granted = |who: &str, role: &str| Grant {
        principal: name(who),
        what: Wanted::Role { role: name(role) },
        not_before: None,
        seconds: 3600,
        constraints: Constraints::default(),
        reason: label("for a while"),
    };
    assert_eq!(house.code(granted("esther", "key-admin")).await, Code::WrongState);
    assert_eq!(house.code(granted("ann", "escrow-administrator")).await, Code::WrongState);
    house.ask(House::putting("ann", &[])).await;
    house.ask(granted("ann", "escrow-administrator")).await;
    assert_eq!(house.code(House::putting("ann", &["key-admin"])).await, Code::WrongState, "while the grant lasts");
    let _: Who = house.welcome(House::person("zoe", &["key-admin", "key-user-encrypt"])).await;
}
