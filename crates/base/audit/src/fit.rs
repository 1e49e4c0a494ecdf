//! Makes an over-long record fit a log entry: long strings keep their beginning and gain the SHA-256 of the whole.

use std::collections::BTreeMap;

use crate::merkle::Hash;
use crate::record::{Outcome, Record};
use crate::tile::MAX_ENTRY_BYTES;

/// Caps tried in turn, in bytes. With the last one, and maps reduced to a digest, the fixed fields of a record take
/// less than 16 KiB even if every character needs six bytes of JSON.
const CAPS: [usize; 4] = [4096, 1024, 256, 96];

/// The canonical bytes of a record that is too long as it is.
pub(crate) fn shortened(record: &Record) -> Vec<u8> {
    for cap in CAPS {
        let mut cut = record.clone();
        cut_strings(&mut cut, cap);
        let bytes = cut.to_json();
        if bytes.len() <= MAX_ENTRY_BYTES {
            return bytes;
        }
    }
    // Too many map entries: each map becomes one entry that says how many there were, and their digest.
    let mut cut = record.clone();
    cut_strings(&mut cut, CAPS[CAPS.len() - 1]);
    cut.context = record.context.as_ref().map(digest_of_map);
    cut.details = digest_of_map(&record.details);
    cut.to_json()
}

fn cut_strings(record: &mut Record, cap: usize) {
    cut(&mut record.request, cap);
    cut(&mut record.actor.principal, cap);
    cut(&mut record.operation, cap);
    if let Some(source) = &mut record.source {
        cut(source, cap);
    }
    if let Some(resource) = &mut record.resource {
        cut(&mut resource.kind, cap);
        cut(&mut resource.id, cap);
        if let Some(keyring) = &mut resource.keyring {
            cut(keyring, cap);
        }
    }
    match &mut record.outcome {
        Outcome::Ok => {}
        Outcome::Refused { code } | Outcome::Failed { code } => cut(code, cap),
    }
    if let Some(context) = &mut record.context {
        cut_map(context, cap);
    }
    cut_map(&mut record.details, cap);
}

fn cut_map(map: &mut BTreeMap<String, String>, cap: usize) {
    *map = std::mem::take(map)
        .into_iter()
        .map(|(mut key, mut value)| {
            cut(&mut key, cap);
            cut(&mut value, cap);
            (key, value)
        })
        .collect();
}

fn cut(text: &mut String, cap: usize) {
    if text.len() <= cap {
        return;
    }
    let marker = format!("…[cut: {} bytes, sha256 {:?}]", text.len(), Hash::sha256(text.as_bytes()));
    text.truncate(text.floor_char_boundary(cap));
    text.push_str(&marker);
}

fn digest_of_map(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    if map.is_empty() {
        return BTreeMap::new();
    }
    // Unwrap safety: a map of strings always serialises.
    #[allow(clippy::expect_used)]
    let whole = serde_json::to_vec(map).expect("maps of strings serialise");
    let digest = format!("{} entries, sha256 {:?}", map.len(), Hash::sha256(&whole));
    BTreeMap::from([("…[cut]".to_owned(), digest)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn long_strings_keep_their_beginning_and_a_digest() {
        let mut record = sample(1);
        let long = "é".repeat(40_000);
        record.details.insert("reason".into(), long.clone());
        let back = Record::decode(&record.encode()).unwrap();
        let cut = &back.details["reason"];
        assert!(cut.starts_with(&"é".repeat(2048)) && cut.len() < 4300);
        assert!(cut.ends_with(&format!("80000 bytes, sha256 {:?}]", Hash::sha256(long.as_bytes()))));
        assert_eq!(back.request, record.request);
    }

    #[test]
    fn the_worst_record_fits() {
        let worst = "\u{1}".repeat(70_000);
        let mut record = sample(1);
        record.request = worst.clone();
        record.actor.principal = worst.clone();
        record.operation = worst.clone();
        record.source = Some(worst.clone());
        record.outcome = Outcome::Failed { code: worst.clone() };
        let resource = record.resource.as_mut().unwrap();
        resource.kind = worst.clone();
        resource.id = worst.clone();
        resource.keyring = Some(worst.clone());
        record.context = Some((0..2000).map(|i| (format!("{i}{}", &worst[..200]), worst[..50].to_owned())).collect());
        record.details.clone_from(record.context.as_ref().unwrap());
        let bytes = record.encode();
        assert!(bytes.len() <= MAX_ENTRY_BYTES, "{}", bytes.len());
        let back = Record::decode(&bytes).unwrap();
        assert!(back.details["…[cut]"].starts_with("2000 entries, sha256 "));
    }
}
