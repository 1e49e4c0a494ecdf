//! What may happen, in which order, and signed by whom.

use std::collections::{BTreeMap, BTreeSet};

use keyreeve_ceremony::event::{Deviation, DeviationKind, Ending, Event, Outcome};
use keyreeve_ceremony::state::{Next, Refusal, Standing};
use keyreeve_ceremony::transcript::{Fault, Transcript};

use crate::stage::{DIGEST, PEOPLE, Stage, initials, line, opened};

fn refused(result: Result<(), Fault>) -> String {
    match result.unwrap_err() {
        Fault::Refused(refusal) => refusal.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_ceremony_goes_from_step_to_step_to_its_end() {
    let stage = Stage::completed();
    let read = Transcript::read(&stage.bytes).unwrap();
    assert_eq!(read.ceremony().next(), Next::Over);
    assert_eq!(read.ceremony().ending(), Some(&Ending::Completed {}));
    assert_eq!(read.head(), stage.transcript.head());
    assert_eq!(read.length(), stage.bytes.len());
    assert!(read.ceremony().standing().iter().all(|standing| matches!(standing, Standing::Done(_))));
    assert_eq!(read.ceremony().values()[&"choice".parse().unwrap()], line("yes"));
}

#[test]
fn each_step_is_signed_by_those_whose_presence_it_demands() {
    let stage = Stage::completed();
    let signed = |task: &str| -> BTreeSet<String> {
        let found = stage
            .transcript
            .entries()
            .iter()
            .find(|entry| matches!(&entry.event, Event::Done { task: done, .. } if done.as_str() == task));
        found.unwrap().signed_by.iter().map(ToString::to_string).collect()
    };
    let set = |who: &[&str]| who.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(signed("before-1"), set(&["WX"]));
    assert_eq!(signed("hash"), set(&["AB", "WX"]));
    assert_eq!(signed("show"), set(&["AB", "CD", "EF"]));
    assert_eq!(stage.transcript.entries().last().unwrap().signed_by.len(), 4);
}

#[test]
fn nobody_takes_part_twice_and_roles_are_kept_apart() {
    let mut stage = Stage::new();
    stage.enrol("AB", "Alice Bäcker", "Acme", &["administrator"]).unwrap();
    let twice = refused(stage.enrol("A2", "ALICE BÄCKER", "Beta", &["custodian"]));
    assert!(twice.contains("takes part already"), "{twice}");
    assert!(refused(stage.enrol("AB", "Anna Braun", "Beta", &["custodian"])).contains("initials"));
    // The same key under another name is the same person.
    let mut copy = stage.person("ZZ", "Somebody Else", "Beta", &["custodian"]);
    copy.key = stage.transcript.ceremony().people()[0].enrolled.key.clone();
    assert!(refused(stage.say(Event::Enrolled(Box::new(copy)))).contains("takes part already"));
    assert!(refused(stage.enrol("CD", "C", "Acme", &["administrator"])).contains("has all its holders"));
    assert!(refused(stage.enrol("CD", "C", "Acme", &["nobody"])).contains("no role"));
    assert!(refused(stage.enrol("CD", "C", "Acme", &["custodian", "custodian"])).contains("each once"));
    let mut other = Stage::new();
    let both = refused(other.enrol("AB", "A", "Acme", &["witness", "administrator"]));
    assert!(both.contains("nobody has both roles"), "{both}");
    stage.enrol("CD", "C", "Acme", &["custodian"]).unwrap();
    let same = refused(stage.enrol("EF", "E", "ACME", &["custodian"]));
    assert!(same.contains("different organisations"), "{same}");
}

#[test]
fn it_begins_when_all_are_there_from_enough_organisations() {
    let mut stage = Stage::new();
    for (who, name, organisation, role) in &PEOPLE[..3] {
        stage.enrol(who, name, organisation, &[role]).unwrap();
    }
    assert!(refused(stage.say(Event::Assembled {})).contains("`witness` lacks 1"));
    let outcome = Outcome::Confirmed {};
    assert!(refused(stage.done("before-1", outcome)).contains("not everybody is there"));
    let script = crate::stage::SCRIPT.replace("organisations_at_least = 2", "organisations_at_least = 4");
    let mut stage = Stage::begin(opened(&script)).unwrap();
    for (who, name, organisation, role) in PEOPLE {
        stage.enrol(who, name, organisation, &[role]).unwrap();
    }
    assert!(refused(stage.say(Event::Assembled {})).contains("from 3 organisations"));
}

#[test]
fn nothing_is_skipped_silently() {
    let mut stage = Stage::assembled();
    assert!(refused(stage.done("hash", Outcome::Confirmed {})).contains("the next task is `before-1`"));
    assert!(refused(stage.say(Event::Closed(Ending::Completed {}))).contains("not every task"));
    let skip = |task: &str| {
        let what = DeviationKind::Skipped { task: line(task) };
        Event::Deviation(Deviation { what, reason: "the door has no lock".parse().unwrap() })
    };
    assert!(refused(stage.say(skip("hash"))).contains("the next task"));
    stage.say(skip("before-1")).unwrap();
    assert_eq!(stage.transcript.entries().last().unwrap().signed_by, BTreeSet::from([initials("WX")]));
    assert_eq!(stage.transcript.ceremony().next(), Next::Task(1));
    // Whoever should have done it says so, too.
    stage.say(skip("equipment-laptop")).unwrap();
    let both = ["AB", "WX"].map(initials);
    assert_eq!(stage.transcript.entries().last().unwrap().signed_by, BTreeSet::from(both));
    assert_eq!(stage.transcript.ceremony().deviations(), 2);
}

#[test]
fn what_comes_of_a_task_is_what_it_asks_for() {
    let mut stage = Stage::assembled();
    stage.carry_out(0);
    stage.carry_out(1);
    let values = |digest: &str, at: &str| Outcome::Recorded {
        values: BTreeMap::from([("digest".parse().unwrap(), line(digest)), ("seen-at".parse().unwrap(), line(at))]),
    };
    let at = "2026-11-22T09:00:00Z";
    assert!(refused(stage.done("hash", values("xyz", at))).contains("64 digits"));
    assert!(refused(stage.done("hash", values(DIGEST, "nine"))).contains("instant"));
    assert!(refused(stage.done("hash", Outcome::Recorded { values: BTreeMap::new() })).contains("not every value"));
    assert!(refused(stage.done("hash", Outcome::Confirmed {})).contains("not what the script asks for"));
    stage.done("hash", values(DIGEST, at)).unwrap();
    let other = DIGEST.replace('9', "8");
    let wrong = refused(stage.done("compare", Outcome::Verified { seen: line(&other) }));
    assert!(wrong.contains("not the value `digest`"), "{wrong}");
    stage.done("compare", Outcome::Verified { seen: line(DIGEST) }).unwrap();
    let ran = Outcome::Ran { facts: BTreeMap::new(), found: false };
    assert!(refused(stage.done("show", ran.clone())).contains("not begun"));
    let begun = |command: &str| Event::Begun { task: line("show"), command: line(command) };
    assert!(refused(stage.say(begun("keyreeve key show other"))).contains("`keyreeve key show SN-1234`"));
    stage.say(begun("keyreeve key show SN-1234")).unwrap();
    stage.say(Event::Failed { task: line("show"), why: "no such key".parse().unwrap() }).unwrap();
    assert!(refused(stage.done("show", ran.clone())).contains("not begun"));
    stage.say(begun("keyreeve key show SN-1234")).unwrap();
    stage.done("show", ran).unwrap();
    let decided = Outcome::Attached { file: line("x"), bytes: 0, sha256: line("short") };
    assert!(refused(stage.done("video", decided)).contains("not what"));
}

#[test]
fn somebody_who_leaves_signs_no_more_and_is_replaced() {
    let mut stage = Stage::assembled();
    let left = |who: &str| {
        let what = DeviationKind::Left { who: initials(who) };
        Event::Deviation(Deviation { what, reason: "taken ill".parse().unwrap() })
    };
    let alone = refused(stage.say(left("AB")));
    assert!(alone.contains("nobody else has the role"), "{alone}");
    // One of two custodians goes, another comes.
    stage.say(left("CD")).unwrap();
    let stay = ["AB", "EF", "WX"].map(initials);
    assert_eq!(stage.transcript.entries().last().unwrap().signed_by, BTreeSet::from(stay), "everybody who stays");
    // Until somebody comes nothing is done.
    assert_eq!(stage.transcript.ceremony().next(), Next::Enrol(vec![("custodian".parse().unwrap(), 1)]));
    assert!(refused(stage.done("before-1", Outcome::Confirmed {})).contains("not everybody is there"));
    let late = stage.enrol("CG", "Carla Gómez", "Delta", &["custodian"]);
    assert_eq!(late, Ok(()));
    let last = stage.transcript.entries().last().unwrap();
    let expected = ["AB", "CG", "EF", "WX"].map(initials);
    assert_eq!(last.signed_by, BTreeSet::from(expected), "everybody saw who came");
    while let Next::Task(place) = stage.transcript.ceremony().next() {
        stage.carry_out(place);
    }
    stage.say(Event::Closed(Ending::Completed {})).unwrap();
    assert!(!stage.transcript.entries().last().unwrap().signed_by.contains(&initials("CD")));
    assert!(Transcript::read(&stage.bytes).is_ok());
}

/// Who comes for somebody who left brings no organisation with them that lets the ceremony go on with too few.
#[test]
fn organisations_are_counted_again_after_somebody_left() {
    let script = crate::stage::SCRIPT.replace("organisations_at_least = 2", "organisations_at_least = 3");
    let mut stage = Stage::begin(opened(&script)).unwrap();
    for (who, name, organisation, role) in PEOPLE {
        stage.enrol(who, name, organisation, &[role]).unwrap();
    }
    stage.say(Event::Assembled {}).unwrap();
    let what = DeviationKind::Left { who: initials("EF") };
    stage.say(Event::Deviation(Deviation { what, reason: "taken ill".parse().unwrap() })).unwrap();
    let few = refused(stage.enrol("GA", "Gerd Aue", "gamma audit", &["custodian"]));
    assert!(few.contains("from 2 organisations"), "{few}");
    stage.enrol("DE", "Dora Eck", "Delta", &["custodian"]).unwrap();
    assert_eq!(stage.transcript.ceremony().next(), Next::Task(0));
}

#[test]
fn before_anybody_is_enrolled_nothing_can_be_signed() {
    let mut stage = Stage::new();
    let ending = Ending::Aborted { reason: "nobody came".parse().unwrap() };
    assert!(refused(stage.say(Event::Closed(ending))).contains("nobody is enrolled"));
    let program = stage.transcript.ceremony().opened().program.clone();
    assert!(refused(stage.say(Event::Resumed { program })).contains("nobody is enrolled"));
}

#[test]
fn breaking_off_is_written_down_and_ends_it() {
    let mut stage = Stage::assembled();
    let ending = Ending::Aborted { reason: "the seal is broken".parse().unwrap() };
    stage.say(Event::Closed(ending)).unwrap();
    assert_eq!(stage.transcript.ceremony().next(), Next::Over);
    assert!(refused(stage.done("before-1", Outcome::Confirmed {})).contains("over"));
}

#[test]
fn a_script_that_cannot_be_followed_begins_no_ceremony() {
    let broken = crate::stage::SCRIPT.replace("equals = \"digest\"", "equals = \"other\"");
    assert!(matches!(Stage::begin(opened(&broken)).err(), Some(Fault::Refused(Refusal::Lint { .. }))));
    let mut other = opened(crate::stage::SCRIPT);
    other.script.push('\n');
    assert_eq!(Stage::begin(other).err(), Some(Fault::Refused(Refusal::ScriptHash)));
}
