//! Tests of proposals, one thing at a time; tests/approvals.rs has every interleaving.

use super::*;
use crate::ids::MfaId;
use crate::rules::{Rule, Rules};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DIGEST: &str = "d1";

fn party(name: &str, roles: &[&str]) -> Party {
    Party {
        name: name.parse().unwrap(),
        person: name.parse().unwrap(),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        counts: true,
    }
}

fn role(any_of: &[&str]) -> Seat {
    Seat { kind: SeatKind::Role(any_of.iter().map(|role| role.parse().unwrap()).collect()), only_if: None }
}

fn requirement(seats: Vec<Seat>) -> Requirement {
    Requirement {
        rules: BTreeSet::new(),
        seats,
        expires: Duration::from_secs(3600),
        valid: Duration::from_secs(600),
        mfa: Duration::from_secs(300),
        opens_incident: false,
        confirm: Vec::new(),
    }
}

fn request() -> Request {
    Request {
        operation: "key.rotate".parse().unwrap(),
        target: TargetRef { kind: "key".into(), id: "key_1".into() },
        second: None,
        base_revision: None,
        form: json!({"reason": "old", "days": 7}),
    }
}

fn proposal(seats: Vec<Seat>) -> Proposal {
    Proposal::new(
        NewProposal {
            id: ApprovalId::from_bytes([1; 16]),
            proposer: party("paula", &["key-admin"]),
            request: request(),
            digest: DIGEST.to_owned(),
            reason: Label::default(),
            requirement: requirement(seats),
            owners: Owners::new(),
            shown: Vec::new(),
        },
        NOW,
    )
}

fn proof(at: UnixMillis) -> VoteProof {
    let mfa = MfaProof { at, kind: MfaKind::Totp, credential: Some(MfaId::from_bytes([2; 16])) };
    VoteProof { mfa, evidence: String::new() }
}

fn record() -> RecordId {
    RecordId::from_bytes([3; 16])
}

fn vote(of: &Proposal, by: &Party, decision: Decision, now: UnixMillis) -> Result<Proposal, Refusal> {
    let (reason, proof, record) = (&Label::default(), proof(now), record());
    of.step(&Event::Vote { by, decision, reason, digest: DIGEST, proof, record }, now)
}

fn execute(
    of: &Proposal,
    by: &Party,
    parties: &[Party],
    seats: Vec<Seat>,
    now: UnixMillis,
) -> Result<Proposal, Refusal> {
    let (requirement, owners) = (&requirement(seats), &Owners::new());
    of.step(&Event::Execute { by, digest: DIGEST, parties, requirement, owners, record: record() }, now)
}

fn two() -> Vec<Seat> {
    vec![role(&["ciso"]), role(&["security-lead"])]
}

#[test]
fn two_people_approve_and_it_runs_once() {
    let (paula, carl, sue) =
        (party("paula", &["key-admin"]), party("carl", &["ciso"]), party("sue", &["security-lead"]));
    let one = vote(&proposal(two()), &carl, Decision::Approve, NOW).unwrap();
    assert_eq!((one.state(NOW), one.missing()), (ProposalState::Waiting, vec!["security-lead".to_owned()]));
    let everybody = [carl, sue.clone()];
    let missing = Refusal::Missing(vec!["security-lead".into()]);
    assert_eq!(execute(&one, &paula, &everybody, two(), NOW), Err(missing));
    let both = vote(&one, &sue, Decision::Approve, NOW).unwrap();
    assert_eq!(both.state(NOW), ProposalState::Approved);
    assert_eq!(execute(&both, &sue, &everybody, two(), NOW), Err(Refusal::NotTheProposer));
    let done = execute(&both, &paula, &everybody, two(), NOW).unwrap();
    assert_eq!(done.state(NOW), ProposalState::Executed);
    let again = execute(&done, &paula, &everybody, two(), NOW);
    assert_eq!(again, Err(Refusal::Over(ProposalState::Executed)));
    assert_eq!((both.parent().as_str(), done.parent().as_str(), done.due()), (OPEN, CLOSED, None));
}

#[test]
fn consent_and_waiting_end_by_time() {
    let seat = || vec![role(&["ciso"])];
    let carl = party("carl", &["ciso"]);
    let at = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    let waiting = proposal(seat());
    assert_eq!(waiting.state(at(3599)), ProposalState::Waiting);
    assert_eq!(waiting.state(at(3600)), ProposalState::Expired);
    assert_eq!(vote(&waiting, &carl, Decision::Approve, at(3600)), Err(Refusal::Over(ProposalState::Expired)));
    let approved = vote(&waiting, &carl, Decision::Approve, at(3599)).unwrap();
    assert_eq!((approved.state(at(4198)), approved.state(at(4199))), (ProposalState::Approved, ProposalState::Expired));
    assert_eq!(approved.due(), Some(at(4199)));
}

#[test]
fn who_may_not_vote() {
    let waiting = proposal(two());
    let mut other_self = party("robot", &["ciso"]);
    other_self.person = "paula".parse().unwrap();
    let mut disabled = party("carl", &["ciso"]);
    disabled.counts = false;
    let no_seat = Refusal::NoSeat("ciso, security-lead".into());
    for (by, refusal) in [
        (party("paula", &["ciso"]), Refusal::OwnRequest),
        (other_self, Refusal::OwnRequest),
        (disabled, no_seat.clone()),
        (party("bob", &["legal"]), no_seat),
    ] {
        for decision in [Decision::Approve, Decision::Reject] {
            assert_eq!(vote(&waiting, &by, decision, NOW), Err(refusal.clone()), "{by:?}");
        }
    }
}

#[test]
fn a_vote_is_for_what_was_seen_with_a_fresh_factor() {
    let (waiting, carl) = (proposal(two()), party("carl", &["ciso"]));
    let with = |digest: &str, proof: VoteProof| {
        let (decision, reason, record) = (Decision::Approve, &Label::default(), record());
        waiting.step(&Event::Vote { by: &carl, decision, reason, digest, proof, record }, NOW)
    };
    let aged = |seconds: i64| proof(UnixMillis(NOW.0 - seconds * 1000));
    assert!(with(DIGEST, aged(300)).is_ok());
    assert_eq!(with("d2", aged(0)), Err(Refusal::OtherRequest));
    assert_eq!(with(DIGEST, aged(301)), Err(Refusal::StaleProof(5)));
    assert_eq!(with(DIGEST, aged(-1)), Err(Refusal::StaleProof(5)));
    let mut recovery = aged(0);
    recovery.mfa.kind = MfaKind::Recovery;
    assert_eq!(with(DIGEST, recovery), Err(Refusal::StaleProof(5)));
}

#[test]
fn votes_are_counted_again_when_it_runs() {
    let (paula, carl) = (party("paula", &["key-admin"]), party("carl", &["ciso"]));
    let seat = || vec![role(&["ciso"])];
    let approved = vote(&proposal(seat()), &carl, Decision::Approve, NOW).unwrap();
    let (mut disabled, mut paulas) = (carl.clone(), carl.clone());
    disabled.counts = false;
    paulas.person = "paula".parse().unwrap();
    for now in [vec![], vec![disabled], vec![party("carl", &["legal"])], vec![paulas]] {
        assert_eq!(
            execute(&approved, &paula, &now, seat(), NOW),
            Err(Refusal::Missing(vec!["ciso".into()])),
            "{now:?}"
        );
    }
    let more = execute(&approved, &paula, std::slice::from_ref(&carl), two(), NOW);
    assert_eq!(more, Err(Refusal::Missing(vec!["security-lead".into()])));
    let (requirement, owners, by) = (&requirement(seat()), &Owners::new(), &paula);
    let parties = std::slice::from_ref(&carl);
    let other =
        approved.step(&Event::Execute { by, digest: "d2", parties, requirement, owners, record: record() }, NOW);
    assert_eq!(other, Err(Refusal::OtherRequest));
    assert!(execute(&approved, &paula, parties, seat(), NOW).is_ok());
}

/// A floor of so many people is one of people who consent now, and not of votes.
#[test]
fn each_person_who_consents_now_counts_once() {
    let (paula, carl, cleo) = (party("paula", &["key-admin"]), party("carl", &["ciso"]), party("cleo", &["ciso"]));
    let seat = vec![role(&["ciso"])];
    let one = vote(&proposal(seat.clone()), &carl, Decision::Approve, NOW).unwrap();
    let both = vote(&one, &cleo, Decision::Approve, NOW).unwrap();
    let count = |parties: &[Party]| both.consenting(&paula, parties, &requirement(seat.clone())).len();
    assert_eq!(count(&[carl.clone(), cleo.clone()]), 2);
    let become_another = |person: &str| Party { person: person.parse().unwrap(), ..cleo.clone() };
    assert_eq!(count(&[carl.clone(), become_another("paula")]), 1, "the proposer's other self");
    assert_eq!(count(&[carl.clone(), become_another("carl")]), 1, "another name of the same person");
    assert_eq!(count(&[carl.clone(), Party { counts: false, ..cleo.clone() }]), 1, "let in no more");
    assert_eq!(count(std::slice::from_ref(&carl)), 1, "gone");
    let strict = Requirement { mfa: Duration::ZERO, ..requirement(seat.clone()) };
    let late = UnixMillis(NOW.0 + 60_000);
    let (by, reason, proof, record) = (&cleo, &Label::default(), proof(NOW), record());
    let stale = Event::Vote { by, decision: Decision::Approve, reason, digest: DIGEST, proof, record };
    let stale = one.step(&stale, late).unwrap();
    assert_eq!(stale.consenting(&paula, &[carl, cleo], &strict).len(), 1, "the proof was not fresh");
}

#[test]
fn a_second_vote_of_the_same_person_replaces_the_first() {
    let seats = || vec![role(&["ciso"]), role(&["legal"])];
    let mut second_self = party("carl-2", &["legal"]);
    second_self.person = "carl".parse().unwrap();
    let one = vote(&proposal(seats()), &party("carl", &["ciso"]), Decision::Approve, NOW).unwrap();
    let two = vote(&one, &second_self, Decision::Approve, NOW).unwrap();
    assert_eq!((two.state(NOW), two.missing()), (ProposalState::Waiting, vec!["ciso".to_owned()]));
    // Also when the second self is declared to be somebody else afterwards.
    second_self.person = "dora".parse().unwrap();
    let parties = [party("carl", &["ciso"]), second_self];
    assert!(execute(&two, &party("paula", &[]), &parties, seats(), NOW).is_err());
}

#[test]
fn rejecting_and_withdrawing_end_it() {
    let waiting = proposal(two());
    let rejected = vote(&waiting, &party("carl", &["ciso"]), Decision::Reject, NOW).unwrap();
    assert_eq!(rejected.state(NOW), ProposalState::Rejected);
    let withdraw = |by: &str| waiting.step(&Event::Withdraw { by: &by.parse().unwrap() }, NOW);
    assert_eq!(withdraw("carl"), Err(Refusal::NotTheProposer));
    assert_eq!(withdraw("paula").unwrap().state(NOW), ProposalState::Withdrawn);
}

#[test]
fn owners_are_those_of_then_and_now() {
    let seats = || vec![Seat { kind: SeatKind::Owner, only_if: None }];
    let owners = |names: &[&str]| -> Owners { names.iter().map(ToString::to_string).collect() };
    let (olga, owen) = (party("olga", &[SYSTEM_OWNER]), party("owen", &[SYSTEM_OWNER, "payments"]));
    let people = [olga.clone(), owen.clone(), party("otto", &["payments"])];
    assert_eq!(answerable(&owners(&["payments", "otto", "nobody", "olga"]), &people), owners(&["olga", "payments"]));
    let mut of_payments = proposal(seats());
    of_payments.owners = owners(&["payments"]);
    assert!(matches!(vote(&of_payments, &olga, Decision::Approve, NOW), Err(Refusal::NoSeat(_))));
    let approved = vote(&of_payments, &owen, Decision::Approve, NOW).unwrap();
    for (now, fine) in [(owners(&["payments", "olga"]), true), (owners(&["olga"]), false), (owners(&[]), false)] {
        let (by, requirement) = (&party("paula", &[]), &requirement(seats()));
        let (digest, record, parties) = (DIGEST, record(), people.as_slice());
        let event = Event::Execute { by, digest, parties, requirement, owners: &now, record };
        assert_eq!(approved.step(&event, NOW).is_ok(), fine, "{now:?}");
    }
}

#[test]
fn a_peer_shares_a_role_with_the_proposer() {
    let (peer, proposer) = (Seat { kind: SeatKind::Peer, only_if: None }, party("p", &["key-admin", "operator"]));
    assert!(party("q", &["operator"]).fits(&peer, &proposer, &Owners::new()));
    assert!(!party("q", &["ciso"]).fits(&peer, &proposer, &Owners::new()));
    assert!(!proposer.fits(&peer, &proposer, &Owners::new()));
}

#[test]
fn the_digest_covers_everything_that_is_asked_for() {
    let (deployment, proposer) = (DeploymentId::from_bytes([1; 16]), "paula".parse().unwrap());
    let digest = request().digest(deployment, &proposer).unwrap();
    let alterations: [fn(&mut Request); 7] = [
        |r| r.operation = "key.create".parse().unwrap(),
        |r| r.target.kind = "keyring".into(),
        |r| r.target.id = "key_2".into(),
        |r| r.second = Some(TargetRef { kind: "key".into(), id: "key_1".into() }),
        |r| r.base_revision = Some(0),
        |r| r.form = json!({"reason": "old", "days": 8}),
        |r| r.form = json!({"reason": "old", "days": 7, "more": null}),
    ];
    for (nth, alter) in alterations.iter().enumerate() {
        let mut other = request();
        alter(&mut other);
        assert_ne!(other.digest(deployment, &proposer).unwrap(), digest, "{nth}");
    }
    assert_ne!(request().digest(DeploymentId::from_bytes([2; 16]), &proposer).unwrap(), digest);
    assert_ne!(request().digest(deployment, &"carl".parse().unwrap()).unwrap(), digest);
    let turned = Request { form: json!({"days": 7, "reason": "old"}), ..request() };
    assert_eq!(turned.digest(deployment, &proposer).unwrap(), digest, "the order of members is no part of it");
    let long = Request { form: json!("x".repeat(FORM_MAX)), ..request() };
    assert_eq!(long.digest(deployment, &proposer), Err(NoDigest::TooLong));
    assert!(Request { form: json!(0.5), ..request() }.digest(deployment, &proposer).is_err());
}

#[test]
fn what_expired_is_noted_once_and_kept_with_those_that_ended() {
    let waiting = proposal(two());
    assert_eq!(waiting.expired(NOW), None);
    let later = NOW.plus(Duration::from_secs(3600));
    let expired = waiting.expired(later).unwrap();
    assert_eq!(
        (expired.state(later), expired.parent().as_str(), expired.due()),
        (ProposalState::Expired, CLOSED, None)
    );
    assert_eq!(expired.expired(later), None);
    let withdrawn = waiting.step(&Event::Withdraw { by: &"paula".parse().unwrap() }, NOW).unwrap();
    assert_eq!(withdrawn.expired(later), None);
}

#[test]
fn a_vote_counts_for_the_seats_that_were_shown() {
    let (paula, both, sue) =
        (party("paula", &["key-admin"]), party("carla", &["ciso", "legal"]), party("sue", &["security-lead", "legal"]));
    let other = party("carl", &["ciso"]);
    let everybody = [both.clone(), sue.clone(), other.clone()];
    let agreed = [&both, &sue, &other]
        .into_iter()
        .fold(proposal(two()), |proposal, by| vote(&proposal, by, Decision::Approve, NOW).unwrap());
    let held = [two(), vec![role(&["legal"])]].concat();
    assert_eq!(execute(&agreed, &paula, &everybody, held, NOW), Err(Refusal::Missing(vec!["legal".into()])));
    assert!(execute(&agreed, &paula, &everybody, two(), NOW).is_ok());
    assert!(execute(&agreed, &paula, &everybody, vec![role(&["ciso"])], NOW).is_ok(), "fewer are asked for");
}

#[test]
fn whoever_is_named_as_the_person_of_another_is_that_person() {
    let carl = party("carl", &["ciso"]);
    let other = Party { name: "carl-2".parse().unwrap(), ..party("carl", &["ciso"]) };
    let of_name = Party { person: "c. doe".parse().unwrap(), ..party("carl", &["ciso"]) };
    for (one, two) in [(&carl, &other), (&of_name, &other), (&other, &of_name)] {
        assert!(one.is_same_person(two));
    }
    assert!(!of_name.is_same_person(&party("c", &[])));
}

#[test]
fn the_record_is_closed_and_comes_back() {
    let proposal = vote(&proposal(two()), &party("carl", &["ciso"]), Decision::Approve, NOW).unwrap();
    let json = serde_json::to_string(&proposal).unwrap();
    assert_eq!(serde_json::from_str::<Proposal>(&json).unwrap(), proposal);
    assert!(serde_json::from_str::<Proposal>(&json.replacen('{', "{\"more\":1,", 1)).is_err());
    let open = OpenRequest { digest: hex::encode([7; 32]), ..OpenRequest::of(&proposal) };
    assert_eq!(open.row_id(), OpenRequest::row([7; 32]));
    assert_eq!(open.forget(), Some(NOW.plus(Duration::from_secs(3600 + 600))));
}

#[test]
fn rules_that_nobody_could_satisfy_are_named() {
    let rules = Rules::parse(
        r#"
[[rule]]
name = "rules"
operations = ["rules.put"]
seats = [{ role = "security-lead" }, { role = "ciso" }]
[[rule]]
name = "legal"
operations = ["key.destroy"]
seats = [{ role = "security-lead" }, { role = "legal", only_if = "hold" }]
[[rule]]
name = "closed"
operations = ["key.create"]
ways = [{ proposers = ["nobody-has-this"], seats = [{ role = "ciso" }] }]
"#,
    )
    .unwrap();
    let people = [party("paula", &["key-admin"]), party("carl", &["ciso"]), party("sue", &["security-lead"])];
    let found = |people: &[Party]| -> Vec<String> {
        let mut open = Open(people.to_vec(), Vec::new());
        feasible::unsatisfiable(rules.iter(), &mut open).iter().map(ToString::to_string).collect()
    };
    assert_eq!(found(&people), ["rule `legal`: nobody for legal", "rule `closed`: nobody may ask"]);
    assert_eq!(found(&people[1..])[0], "rule `rules`: nobody for ciso", "the proposer has no seat");
}

/// People of whom everybody may ask for everything but for what nobody may, and consent.
struct Open(Vec<Party>, Vec<&'static str>);

impl feasible::Electorate for Open {
    fn everybody(&self) -> Vec<Party> {
        self.0.clone()
    }

    fn asks(&mut self, who: &Party, operation: &Name, _of_others: bool) -> Option<BTreeSet<Name>> {
        (!self.1.contains(&operation.as_str())).then(|| who.roles.clone())
    }

    fn voters(&mut self, _operation: &Name) -> Vec<Party> {
        self.0.clone()
    }
}

#[test]
fn an_operation_that_nobody_may_ask_for_is_no_fault_of_a_rule_about_others() {
    let rules = Rules::parse(
        "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\", \"policy.put\"]\nseats = [{ role = \"ciso\" }]\n",
    )
    .unwrap();
    let of = |people: &[Party], refused: &[&'static str]| -> Vec<String> {
        let mut open = Open(people.to_vec(), refused.to_vec());
        feasible::unsatisfiable(rules.iter(), &mut open).iter().map(ToString::to_string).collect()
    };
    let people = [party("paula", &["operator"]), party("carl", &["ciso"])];
    assert!(of(&people, &["policy.put"]).is_empty());
    assert_eq!(of(&people, &["policy.put", "rules.put"]), ["rule `rules`: nobody may ask"]);
    assert_eq!(of(&people[..1], &["policy.put"]), ["rule `rules`: nobody for ciso (for `rules.put`)"]);
}

#[test]
fn rules_that_hold_together_need_distinct_people_for_both() {
    let rules = Rules::parse(
        "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n\
         [[rule]]\nname = \"more\"\noperations = [\"rules.put\"]\nseats = [{ role = \"legal\" }]\n",
    )
    .unwrap();
    let (both, operator) = (party("carla", &["ciso", "legal"]), party("paula", &["operator"]));
    let all: Vec<&Rule> = rules.iter().collect();
    let put: Name = "rules.put".parse().unwrap();
    let people = vec![operator, both];
    assert!(feasible::unsatisfiable(rules.iter(), &mut Open(people.clone(), Vec::new())).is_empty(), "one by one");
    let locked = feasible::locked(&all, &put, &mut Open(people.clone(), Vec::new())).unwrap();
    assert_eq!(locked.to_string(), "rule `more`, `rules`: nobody for legal");
    let people = [people, vec![party("lea", &["legal"])]].concat();
    assert_eq!(feasible::locked(&all, &put, &mut Open(people, Vec::new())), None);
}
