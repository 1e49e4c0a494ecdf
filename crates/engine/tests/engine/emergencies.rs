//! What is out of the ordinary: holds keep keys from being destroyed, incidents are followed until nothing is owed.

use keyreeve_engine::ops::mfa::{Answer, Answered, Verify};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::{destruction, emergencies, holds, incidents, principals};
use keyreeve_engine::{Code, KeyRef, KeyringRef, Operation};
use keyreeve_model::NoticeKind;
use keyreeve_model::emergency::{Emergency, EmergencyState};
use keyreeve_model::hold::Hold;
use keyreeve_model::ids::IncidentId;
use keyreeve_model::incident::IncidentKind;

use crate::support::{Council, House, Member, Who, label, name};

mod renewal;
mod worn_out;

const DAY_MS: i64 = 86_400_000;

async fn ask_as<O: Operation>(house: &House, who: &Who, operation: O) -> O::Reply {
    match house.call(who, operation).await {
        Ok(done) => done.reply,
        Err(refused) => panic!("{}: {}", O::DESCRIPTOR.name, refused.error),
    }
}

async fn place(house: &House, who: &Who, key: &KeyRef) -> Hold {
    ask_as(house, who, holds::Place { key: key.clone(), matter: label("2026-cv-1") }).await.0
}

fn schedule(key: &KeyRef) -> destruction::Schedule {
    destruction::Schedule { key: key.clone(), days: 7, reason: label("over") }
}

#[tokio::test]
async fn what_is_held_is_neither_scheduled_nor_destroyed_until_it_is_released() {
    let house = House::new().await;
    let (key, other) = (house.aead().await, house.aead().await);
    house.ask(schedule(&key)).await;
    let legal = house.welcome(House::person("lee", &["legal"])).await;
    let hold = place(&house, &legal, &key).await;

    // Scheduled before the hold: it is due and does not happen, by nobody's hand.
    house.pass(8 * DAY_MS).await;
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.engine().overdue_destructions(), 0);
    assert_eq!(house.code(destruction::Destroy { key: key.clone() }).await, Code::UnderHold);
    let legal = house.token_for("lee").await;

    // Under a hold: not even scheduled, while a neighbour is.
    let held = place(&house, &legal, &other).await;
    assert_eq!(house.code(schedule(&other)).await, Code::UnderHold);
    let release = |hold: &Hold| holds::Release { hold: hold.id(), reason: label("case closed") };
    ask_as(&house, &legal, release(&held)).await;
    house.ask(schedule(&other)).await;

    // Released: the next tick destroys it.
    ask_as(&house, &legal, release(&hold)).await;
    assert_eq!(house.code_for(&legal, release(&hold)).await, Code::WrongState, "once");
    assert!(house.engine().tick().await.is_empty());
    let gone = house.ask(destruction::DescribeDestruction { key }).await;
    assert!(!gone.0.verified.is_empty());
}

#[tokio::test]
async fn a_hold_on_a_keyring_covers_keys_that_are_made_later() {
    let house = House::new().await;
    let keyring: KeyringRef = "default".parse().unwrap();
    let hold = house.ask(holds::PlaceOnKeyring { keyring, matter: label("2026-cv-1") }).await.0;
    let key = house.aead().await;
    assert_eq!(house.code(schedule(&key)).await, Code::UnderHold);
    let listing = |released| holds::List { key: Some(key.clone()), released, after: None, limit: 10 };
    assert_eq!(house.ask(listing(false)).await.items.len(), 1);
    house.ask(holds::Release { hold: hold.id(), reason: label("over") }).await;
    house.ask(schedule(&key)).await;
    assert_eq!(house.ask(listing(false)).await.items.len(), 0);
    assert_eq!(house.ask(listing(true)).await.items.len(), 1);
}

#[tokio::test]
async fn holds_survive_sealing() {
    let mut house = House::new().await;
    let key = house.aead().await;
    house.ask(holds::Place { key: key.clone(), matter: label("2026-cv-1") }).await;
    house.ask(keyreeve_engine::ops::system::Seal).await;
    house.reopen().await;
    assert_eq!(house.code(schedule(&key)).await, Code::UnderHold);
}

#[tokio::test]
async fn policies_see_holds_and_incidents_from_the_next_request_on() {
    let house = House::new().await;
    let key = house.aead().await;
    let policy = r#"@id("careful") forbid (principal, action == Keyreeve::Action::"key.encrypt", resource)
        when { resource.hold || resource.incident };"#;
    let put = keyreeve_engine::ops::policies::Put { name: "careful".parse().unwrap(), text: policy.to_owned() };
    house.ask(put).await;
    let encrypts =
        async || house.call(&house.developer, House::encrypting(&key, b"x")).await.err().map(|r| r.error.code());
    assert_eq!(encrypts().await, None);
    let hold = place(&house, &house.developer, &key).await;
    assert_eq!(encrypts().await, Some(Code::Denied), "a remembered yes does not outlive the hold");
    house.ask(holds::Release { hold: hold.id(), reason: label("over") }).await;
    assert_eq!(encrypts().await, None);
    let open = incidents::Open {
        kind: IncidentKind::Compromise,
        keys: vec![key.clone()],
        ticket: Some(label("INC-7")),
        reason: label("laptop stolen"),
    };
    let incident = house.ask(open).await.incident;
    assert_eq!(encrypts().await, Some(Code::Denied));
    house.ask(incidents::Close { incident: incident.id(), text: label("found again") }).await;
    assert_eq!(encrypts().await, None);
}

#[tokio::test]
async fn who_revokes_alone_replaces_the_key_only_while_its_incident_is_open() {
    let house = House::new().await;
    let key = house.aead().await;
    let lead = house.welcome(House::person("sam", &["security-lead"])).await;
    let rotate = || keyreeve_engine::ops::lifecycle::Rotate { key: key.clone(), reason: label("replaced") };
    assert_eq!(house.code_for(&lead, rotate()).await, Code::Denied);
    let open = incidents::Open {
        kind: IncidentKind::Compromise,
        keys: vec![key.clone()],
        ticket: None,
        reason: label("laptop stolen"),
    };
    let incident = ask_as(&house, &lead, open).await.incident;
    ask_as(&house, &lead, rotate()).await;
    ask_as(&house, &lead, incidents::Close { incident: incident.id(), text: label("replaced") }).await;
    assert_eq!(house.code_for(&lead, rotate()).await, Code::Denied);
}

#[tokio::test]
async fn incidents_are_listed_by_whether_they_are_open() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for reason in ["one", "two", "three"] {
        let open = incidents::Open { kind: IncidentKind::Other, keys: Vec::new(), ticket: None, reason: label(reason) };
        ids.push(house.ask(open).await.incident.id());
        house.pass(1).await;
    }
    house.ask(incidents::Close { incident: ids[1], text: label("nothing") }).await;
    let listed = async |open, limit| {
        let listing = house.ask(incidents::List { open, after: None, limit }).await;
        (listing.items.iter().map(|row| row.incident.id()).collect::<Vec<_>>(), listing.next)
    };
    assert_eq!(listed(Some(true), 10).await.0, [ids[0], ids[2]]);
    assert_eq!(listed(Some(false), 10).await.0, [ids[1]]);
    assert_eq!(listed(None, 2).await, (vec![ids[0], ids[1]], Some(ids[1].to_string())));
    let unsaid = incidents::Open { kind: IncidentKind::Other, keys: Vec::new(), ticket: None, reason: label("") };
    assert_eq!(house.code(unsaid).await, Code::InvalidRequest);
}

/// A council with rules in force, a key with something under it, pat who takes part, and dora who reviews.
struct Night {
    council: Council,
    pat: Member,
    dora: Member,
    key: KeyRef,
    ciphertext: Vec<u8>,
    incident: IncidentId,
}

impl Night {
    async fn fallen() -> Self {
        Self::after(async |_| ()).await
    }

    /// With something done before the rules are in force.
    async fn after(prepared: impl AsyncFnOnce(&House)) -> Self {
        let council = Council::gathered().await;
        let house = &council.house;
        let pat = Member::join(house, "pat", &[]).await;
        let dora = Member::join(house, "dora", &["dpo"]).await;
        let key = house.aead().await;
        let ciphertext = house.encrypt(&key, b"the ledger").await;
        prepared(house).await;
        house.call(&council.olga.who, Enact).await.unwrap();
        let open = incidents::Open {
            kind: IncidentKind::Other,
            keys: vec![key.clone()],
            ticket: None,
            reason: label("the vendor is gone"),
        };
        let incident = ask_as(house, &council.sue.who, open).await.incident.id();
        told(house);
        Self { pat, dora, key, ciphertext, incident, council }
    }

    fn declare(&self) -> emergencies::Declare {
        let KeyRef::Id(key) = self.key else { panic!("not an id") };
        emergencies::Declare {
            incident: self.incident,
            keys: [key].into(),
            keyrings: Default::default(),
            operations: ["key.decrypt".to_owned()].into(),
            participants: [name("pat")].into(),
            minutes: 30,
            why: label("the restore must run tonight"),
        }
    }

    /// Sue declares, Carl and Lea consent.
    async fn in_force(&self) -> Emergency {
        let (house, council) = (&self.council.house, &self.council);
        let approval = council.sue.waits(house, self.declare()).await;
        council.carl.approve(house, approval).await;
        council.lea.approve(house, approval).await;
        ask_as(house, &council.sue.who, self.declare()).await.emergency
    }

    async fn decrypts(&self) -> Option<Code> {
        let (house, decrypt) = (&self.council.house, House::decrypting(&self.key, &self.ciphertext));
        house.call(&self.pat.who, decrypt).await.err().map(|refused| refused.error.code())
    }

    /// Pat shows a second factor.
    async fn verified(&self) {
        self.shown_by(&self.pat).await;
    }

    /// Somebody shows a second factor.
    async fn shown_by(&self, member: &Member) {
        let house = &self.council.house;
        house.clock.turn(30_000);
        let answer = Answer::Code { credential: None, code: member.code(house) };
        assert!(matches!(ask_as(house, &member.who, Verify { answer }).await, Answered::Right(_)));
    }

    async fn rotated(&self) {
        let rotate = keyreeve_engine::ops::lifecycle::Rotate { key: self.key.clone(), reason: label("was used") };
        ask_as(&self.council.house, &self.council.sue.who, rotate).await;
    }

    async fn pat_is_disabled(&self) {
        let patch = principals::PrincipalPatch { disabled: Some(true), ..Default::default() };
        self.council.house.ask(principals::Update { name: name("pat"), patch }).await;
    }

    fn review(&self, emergency: &Emergency) -> emergencies::Review {
        let dispositions = emergency.used_keys().into_iter().map(|key| (key, label("rotated"))).collect();
        emergencies::Review { emergency: emergency.id(), text: label("as announced"), dispositions }
    }
}

/// What both channels were told, which is the same.
fn told(house: &House) -> Vec<NoticeKind> {
    let emergencies = |kind: &NoticeKind| kind.name().starts_with("emergency");
    let kinds = |n: usize| house.posts[n].taken().into_iter().map(|notice| notice.kind);
    let [first, second] = [0, 1].map(|n| kinds(n).filter(emergencies).collect::<Vec<_>>());
    assert_eq!(first, second);
    first
}

#[tokio::test]
async fn too_few_people_do_nothing_and_enough_are_told_of_before_the_answer() {
    let night = Night::fallen().await;
    let (house, council) = (&night.council.house, &night.council);
    let approval = council.sue.waits(house, night.declare()).await;
    assert_eq!(night.decrypts().await, Some(Code::Denied));
    council.carl.approve(house, approval).await;
    assert_eq!(council.sue.waits(house, night.declare()).await, approval, "one is not enough");
    assert_eq!(night.decrypts().await, Some(Code::Denied));
    council.lea.approve(house, approval).await;
    assert_eq!(night.decrypts().await, Some(Code::Denied), "consent alone gives nothing");
    for channel in 0..2 {
        let _ = house.engine().deliver(channel).await;
    }
    assert_eq!(told(house), [NoticeKind::EmergencyDeclared], "told of while it waits");
    let emergency = ask_as(house, &council.sue.who, night.declare()).await.emergency;
    assert_eq!(told(house), [NoticeKind::EmergencyActive]);
    assert_eq!(emergency.voters().map(|voter| voter.name.to_string()).collect::<Vec<_>>(), ["carl", "lea"]);

    // With a second factor shown just now, exactly what it names.
    house.clock.turn(16 * 60_000);
    assert_eq!(night.decrypts().await, Some(Code::MfaNeeded));
    night.verified().await;
    assert_eq!(night.decrypts().await, None);
    assert_eq!(told(house), [NoticeKind::EmergencyUsed]);
    assert_eq!(night.decrypts().await, None);
    assert_eq!(told(house), [], "the same again is in the log only");
    let uses = house.records().await;
    let uses: Vec<_> =
        uses.iter().filter(|record| record.operation == "key.decrypt" && record.outcome.code().is_none()).collect();
    assert_eq!(uses.len(), 2);
    assert!(uses.iter().all(|record| record.details["emergency"] == emergency.id().to_string()));
    assert_eq!(house.code_for(&night.pat.who, House::encrypting(&night.key, b"x")).await, Code::Denied);
    let other = house.call(&council.ann.who, House::decrypting(&night.key, &night.ciphertext)).await;
    assert_eq!(other.err().unwrap().error.code(), Code::Denied, "not a participant");
}

#[tokio::test]
async fn an_emergency_is_closed_by_a_review_of_somebody_else_once_all_is_renewed() {
    let night = Night::fallen().await;
    let (house, council) = (&night.council.house, &night.council);
    let id = night.in_force().await.id();
    night.verified().await;
    assert_eq!(night.decrypts().await, None);
    told(house);
    let ended = ask_as(house, &council.carl.who, emergencies::End { emergency: id }).await.emergency;
    assert_eq!(told(house), [NoticeKind::EmergencyEnded]);
    assert_eq!(night.decrypts().await, Some(Code::Unauthenticated), "the participant's tokens are revoked");
    assert_eq!(ended.owed().count(), 2);
    house.clock.turn(1000);

    // Not by those who were part of it, not before all is renewed, and the incident waits for it.
    for part in [&council.sue, &council.carl] {
        assert_eq!(house.code_for(&part.who, night.review(&ended)).await, Code::OtherPersonNeeded, "{}", part.name);
    }
    assert_eq!(house.code_for(&night.dora.who, night.review(&ended)).await, Code::WrongState);
    night.rotated().await;
    assert_eq!(house.code_for(&night.dora.who, night.review(&ended)).await, Code::WrongState);
    let close = || incidents::Close { incident: night.incident, text: label("over") };
    assert_eq!(house.code_for(&council.sue.who, close()).await, Code::WrongState);
    night.pat_is_disabled().await;
    let mute = emergencies::Review { dispositions: Default::default(), ..night.review(&ended) };
    assert_eq!(house.code_for(&night.dora.who, mute).await, Code::InvalidRequest);
    let closed = ask_as(house, &night.dora.who, night.review(&ended)).await.emergency;
    assert_eq!(closed.state(), EmergencyState::Closed);

    // The rotation was on one person's authority: somebody else confirms it before the incident is closed.
    assert_eq!(house.code_for(&council.sue.who, close()).await, Code::WrongState);
    let confirm = || incidents::Confirm { incident: night.incident, number: 1 };
    assert_eq!(house.code_for(&council.sue.who, confirm()).await, Code::OtherPersonNeeded);
    assert_eq!(house.code_for(&council.lea.who, confirm()).await, Code::OtherPersonNeeded, "not the CISO");
    ask_as(house, &council.carl.who, confirm()).await;
    ask_as(house, &council.sue.who, close()).await;
}

#[tokio::test]
async fn an_emergency_ends_at_its_time_and_an_overdue_review_bars_whoever_was_part_of_it() {
    let night = Night::fallen().await;
    let (house, council) = (&night.council.house, &night.council);
    let id = night.in_force().await.id();
    night.verified().await;
    house.clock.turn(30 * 60_000);
    assert_eq!(night.decrypts().await, Some(Code::Denied), "over, before the server has written it down");
    told(house);
    house.pass(0).await;
    assert_eq!(told(house), [NoticeKind::EmergencyEnded]);
    let shown = ask_as(house, &council.sue.who, emergencies::Describe { emergency: id }).await.emergency;
    assert_eq!((shown.state(), shown.ended().unwrap().cause.name()), (EmergencyState::UnderReview, "time"));
    house.pass(3 * DAY_MS).await;
    house.pass(DAY_MS).await;
    for channel in 0..2 {
        house.engine().deliver(channel).await;
    }
    assert_eq!(told(house), [NoticeKind::EmergencyReviewOverdue; 2], "every day");
    assert_eq!(house.code_for(&council.sue.who, night.declare()).await, Code::OtherPersonNeeded);
}

#[tokio::test]
async fn sealing_ends_an_emergency() {
    let mut night = Night::fallen().await;
    let id = night.in_force().await.id();
    night.verified().await;
    assert_eq!(night.decrypts().await, None);
    night.council.house.clock.turn(1000);
    night.council.house.reopen().await;
    assert_eq!(night.decrypts().await, Some(Code::Unauthenticated));
    let (house, council) = (&night.council.house, &night.council);
    let shown = ask_as(house, &council.sue.who, emergencies::Describe { emergency: id }).await.emergency;
    assert_eq!(shown.ended().unwrap().cause.name(), "seal");
}
