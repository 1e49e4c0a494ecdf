//! What is posted, and how it is signed.

use keyreeve_crypto::mac::hmac_sha256;
use keyreeve_model::Notice;
use keyreeve_secret::SecretBytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// The form of the body; a receiver that does not know it should refuse.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Body<'a> {
    v: u32,
    id: String,
    channel: &'a str,
    kind: &'static str,
    urgency: &'static str,
    time: String,
    subject: &'a str,
    facts: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

pub(super) fn body(notice: &Notice) -> Vec<u8> {
    let body = Body {
        v: VERSION,
        id: notice.id.to_string(),
        channel: notice.channel.as_str(),
        kind: notice.kind.name(),
        urgency: notice.kind.urgency().name(),
        time: notice.created.to_string(),
        subject: notice.subject.as_str(),
        facts: notice.facts.iter().collect(),
        record: notice.record.map(|record| record.to_string()),
    };
    // Texts, a number and a map with text keys: serde_json fails on none of these.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The signature of a body: HMAC-SHA-256 over the timestamp, a full stop and the body, in hexadecimal.
#[must_use]
pub fn signature(secret: &SecretBytes, timestamp: &str, body: &[u8]) -> String {
    let mut signed = Vec::with_capacity(timestamp.len() + 1 + body.len());
    signed.extend_from_slice(timestamp.as_bytes());
    signed.push(b'.');
    signed.extend_from_slice(body);
    hex::encode(hmac_sha256(secret.expose(), &signed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_model::ids::NoticeId;
    use keyreeve_model::{Facts, NoticeKind, UnixMillis};

    #[test]
    fn the_body_is_what_the_formats_say() {
        let now = UnixMillis(1_795_338_000_123);
        let id = NoticeId::new(now, [1; 10]);
        let facts = Facts::default().with("by", "ann").with("operation", "policy.put");
        let channel = "oncall".parse().unwrap();
        let notice = Notice::new(id, channel, NoticeKind::AccessChanged, "ann changed a \"policy\"", facts, now);
        let expected = format!(
            r#"{{"v":1,"id":"{id}","channel":"oncall","kind":"access-changed","urgency":"information","time":"2026-11-22T09:00:00.123Z","subject":"ann changed a \"policy\"","facts":{{"by":"ann","operation":"policy.put"}}}}"#
        );
        assert_eq!(String::from_utf8(body(&notice)).unwrap(), expected);
    }

    #[test]
    fn the_signature_is_that_of_another_program() {
        // printf '1795338000.{"v":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let secret = SecretBytes::copy_from(b"0123456789abcdef0123456789abcdef");
        let made = signature(&secret, "1795338000", br#"{"v":1}"#);
        assert_eq!(made, "b5fc7db662ee37da49239be276b5825869ec9d4b4c3071a4e52278bc09ddacea");
        assert_ne!(made, signature(&secret, "1795338001", br#"{"v":1}"#));
        assert_ne!(made, signature(&secret, "1795338000", br#"{"v":2}"#));
    }
}
