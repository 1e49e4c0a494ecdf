//! Whatever is altered, left out, put in or moved in a transcript is noticed, whoever signs what.

use keyreeve_ceremony::event::{Ending, Event, Outcome};
use keyreeve_ceremony::participant::{CeremonyKey, ParticipantFile, Signer};
use keyreeve_ceremony::state::Next;
use keyreeve_ceremony::transcript::{Fault, Transcript};
use keyreeve_ceremony::verify::{Against, Verdict, verify};
use keyreeve_secret::SecretString;
use proptest::prelude::*;
use std::sync::LazyLock;

use crate::stage::{DIGEST, PEOPLE, SCRIPT, Stage, initials, line};

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| Stage::completed().bytes);

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_altered_byte_is_noticed(at in 0..BYTES.len(), with in any::<u8>()) {
        let mut altered = BYTES.clone();
        prop_assume!(altered[at] != with);
        altered[at] = with;
        prop_assert!(Transcript::read(&altered).is_err());
    }

    #[test]
    fn a_missing_doubled_or_moved_entry_is_noticed(one in 0..17_usize, other in 0..17_usize) {
        let all = lines(&BYTES);
        let (one, other) = (one % all.len(), other % all.len());
        let mut dropped = all.clone();
        dropped.remove(one);
        // Without its end a transcript is read, and is not finished.
        let read = Transcript::read(&dropped.concat());
        if one + 1 == all.len() {
            prop_assert!(read.unwrap().ceremony().ending().is_none());
        } else {
            prop_assert!(read.is_err());
        }
        let mut doubled = all.clone();
        doubled.insert(other, all[one].clone());
        prop_assert!(Transcript::read(&doubled.concat()).is_err());
        let mut moved = all.clone();
        moved.swap(one, other);
        prop_assert_eq!(Transcript::read(&moved.concat()).is_ok(), one == other);
    }

    #[test]
    fn whatever_the_bytes_are_reading_ends(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Transcript::read(&bytes).is_err());
    }

    #[test]
    fn a_transcript_cut_anywhere_is_torn_or_unfinished(end in 0..BYTES.len()) {
        match Transcript::read_so_far(&BYTES[..end]) {
            Ok((read, torn)) => {
                prop_assert!(read.ceremony().ending().is_none());
                prop_assert_eq!(torn, read.length() < end);
                prop_assert!(verify(&BYTES[..end], &Against::default()).is_unfinished());
            }
            Err(broken) => prop_assert!(matches!(broken.fault, Fault::Empty | Fault::Torn), "{}", broken),
        }
    }
}

/// The same line, written in another way, is refused: nothing hides in spaces, order or escapes.
#[test]
fn there_is_one_way_to_write_a_line() {
    let text = String::from_utf8(BYTES.clone()).unwrap();
    let spaced = text.replacen("{\"body\":", "{ \"body\":", 1);
    let escaped = text.replacen("Alice", "\\u0041lice", 1);
    let more = text.replacen("{\"body\":", "{\"more\":1,\"body\":", 1);
    for other in [spaced, escaped, more] {
        assert_ne!(other, text);
        assert!(matches!(Transcript::read(other.as_bytes()).unwrap_err().fault, Fault::Form(_)));
    }
}

#[test]
fn signatures_of_others_are_noticed() {
    let confirmed = || Event::Done { task: line("before-1"), outcome: Outcome::Confirmed {} };
    let mut stage = Stage::assembled();
    let missing = stage.say_signed(confirmed(), |_| Default::default());
    assert_eq!(missing, Err(Fault::Unsigned(initials("WX"))));
    // Somebody who is not enrolled signs in the name of who is.
    let stranger = CeremonyKey::generate(&stage.random).unwrap();
    let forged = stranger.sign(&stage.random, b"anything").unwrap();
    let forging = forged.clone();
    let result = stage.say_signed(confirmed(), |mut signatures| {
        signatures.insert(initials("WX"), forging);
        signatures
    });
    assert_eq!(result, Err(Fault::Signature(initials("WX"))));
    // Somebody who is not enrolled signs in the own name; somebody signs who is not asked to.
    for who in ["QQ", "AB"] {
        let more = forged.clone();
        let result = stage.say_signed(confirmed(), |mut signatures| {
            signatures.insert(initials(who), more);
            signatures
        });
        assert_eq!(result, Err(Fault::Foreign(initials(who))));
    }
    // A refused entry leaves no trace.
    assert_eq!(stage.say(confirmed()), Ok(()));
    assert!(Transcript::read(&stage.bytes).is_ok());
}

/// A signature is good for one entry of one transcript.
#[test]
fn a_signature_cannot_be_carried_elsewhere() {
    let mut stage = Stage::assembled();
    let mut taken = None;
    stage.now = 1_900_000_000_000;
    let confirmed = || Event::Done { task: line("before-1"), outcome: Outcome::Confirmed {} };
    let before = (stage.transcript.clone(), stage.bytes.clone());
    stage
        .say_signed(confirmed(), |signatures| {
            taken = signatures.get(&initials("WX")).cloned();
            signatures
        })
        .unwrap();
    (stage.transcript, stage.bytes) = before;
    let carried = taken.unwrap();
    let result = stage.say_signed(confirmed(), |_| [(initials("WX"), carried)].into());
    assert_eq!(result, Err(Fault::Signature(initials("WX"))), "the time is another");
}

#[test]
fn a_transcript_is_verified_against_what_was_kept_apart() {
    let bytes = &BYTES;
    let alone = verify(bytes, &Against::default());
    assert!(!alone.is_broken() && !alone.is_unfinished());
    assert!(alone.checks.iter().any(|check| check.what == "script" && check.verdict == Verdict::Open));
    let people = Transcript::read(bytes).unwrap().ceremony().people().to_vec();
    let prints = people.iter().map(|person| person.enrolled.key.fingerprint().to_uppercase()).collect();
    let against = Against {
        script: Some(SCRIPT.to_owned()),
        fingerprints: prints,
        participants: Vec::new(),
        attachments: vec![("video.mp4".to_owned(), DIGEST.to_owned())],
    };
    let report = verify(bytes, &against);
    let odd: Vec<_> = report.checks.iter().filter(|check| check.verdict != Verdict::Holds).collect();
    assert!(odd.is_empty(), "{odd:?}");
    let broken = |change: fn(&mut Against)| {
        let mut other = against.clone();
        change(&mut other);
        verify(bytes, &other).is_broken()
    };
    assert!(broken(|against| against.script = Some("another".to_owned())));
    assert!(broken(|against| drop(against.fingerprints.pop())));
    assert!(broken(|against| against.attachments[0].1 = DIGEST.replace('9', "8")));
    assert!(!alone.is_compared() && report.is_compared());
}

/// The owner of a key can put it under another name: the file that was known before tells.
#[test]
fn a_participant_is_more_than_a_key() {
    let mut stage = Stage::assembled();
    while let Next::Task(place) = stage.transcript.ceremony().next() {
        stage.carry_out(place);
    }
    stage.say(Event::Closed(Ending::Completed {})).unwrap();
    let phrase = SecretString::copy_from("correct horse battery");
    let file = |who: &str, name: &str, organisation: &str| {
        let key = &stage.keys[&initials(who)];
        ParticipantFile::seal(key, line(name), line(organisation), &phrase, &stage.random).unwrap()
    };
    let files: Vec<_> = PEOPLE.iter().map(|(who, name, organisation, _)| file(who, name, organisation)).collect();
    let people = |participants: Vec<ParticipantFile>| {
        let report = verify(&stage.bytes, &Against { participants, ..Against::default() });
        let found = report.checks.into_iter().find(|check| check.what == "participants' keys").unwrap();
        (found.verdict, found.detail)
    };
    assert_eq!(people(files.clone()).0, Verdict::Holds);
    let swapped = [&files[..3], &[file("WX", "Wei Xu 徐伟", "Acme")]].concat();
    let (verdict, detail) = people(swapped);
    assert_eq!(verdict, Verdict::Broken);
    assert!(detail.contains("Wei Xu 徐伟, Gamma Audit is Wei Xu 徐伟, Acme"), "{detail}");
    assert_eq!(people(files[..3].to_vec()).0, Verdict::Broken);
}

#[test]
fn where_a_machine_stopped_the_ceremony_goes_on() {
    let mut stage = Stage::assembled();
    stage.carry_out(0);
    let whole = stage.bytes.clone();
    let mut torn = whole.clone();
    torn.extend_from_slice(b"{\"body\":{\"v\":1,");
    let (read, is_torn) = Transcript::read_so_far(&torn).unwrap();
    assert!(is_torn);
    assert_eq!(read.length(), whole.len());
    assert_eq!(read.ceremony().next(), Next::Task(1));
    let program = read.ceremony().opened().program.clone();
    stage.say(Event::Resumed { program }).unwrap();
    assert_eq!(stage.transcript.entries().last().unwrap().signed_by.len(), 4);
}
