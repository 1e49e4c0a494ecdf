//! Second factors that people carry: one-time codes by time, made here.

use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::UnixMillis;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::api::Api;

/// What somebody's telephone holds.
#[derive(Clone, Debug)]
pub struct Factor {
    /// As it was shown once.
    pub seed: String,
    /// The step of the last code: one works once.
    step: u64,
}

fn present(ahead: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + ahead;
    totp::step(UnixMillis(now.as_millis().try_into().unwrap())).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}`: {value}"))
}

impl Factor {
    /// With this seed in base32. No code of it was used yet.
    #[must_use]
    pub fn of(seed: &str) -> Self {
        Self { seed: seed.to_owned(), step: 0 }
    }

    /// Enrols somebody who needs no invitation, as nobody has a factor. The token that asks carries the proof then.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn first(person: &Api) -> Self {
        Self::enrol(person, &json!({ "label": "phone" }))
    }

    /// Enrols somebody with an operator's invitation. The token that asks carries the proof then.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn invited(operator: &Api, person: &Api, name: &str) -> Self {
        let invitation = operator.post(&format!("/v1/principals/{name}/mfa/invitation"), &json!({})).ok();
        Self::enrol(person, &json!({ "label": "phone", "invitation": text(&invitation, "code") }))
    }

    fn enrol(person: &Api, start: &Value) -> Self {
        let started = person.post("/v1/mfa/totp", start).ok();
        let mut factor = Self::of(text(&started, "seed"));
        let finish = json!({ "id": text(&started, "id"), "code": factor.code() });
        let _ = person.post("/v1/mfa/totp/finish", &finish).ok();
        factor
    }

    /// The present code, or the next one where that was used. A server takes one that is at most 30 seconds early, so
    /// that there are two at any moment.
    pub fn code(&mut self) -> String {
        self.code_in(Duration::ZERO)
    }

    fn code_in(&mut self, ahead: Duration) -> String {
        self.step = present(ahead).max(self.step + 1);
        let seed = data_encoding::BASE32_NOPAD.decode(self.seed.as_bytes()).unwrap();
        totp::code(&seed, TotpHash::Sha1, self.step).expose().to_owned()
    }

    /// Shows it to a server whose clock is so far ahead: the token that asks carries the proof then.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn show(&mut self, person: &Api, ahead: Duration) {
        let _ = person.post("/v1/mfa/verify", &json!({ "code": self.code_in(ahead) })).ok();
    }
}
