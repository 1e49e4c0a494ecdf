//! Second factors of people: codes by time, authenticators that sign, codes on paper; and the challenges they answer.
//!
//! Whether an answer is right is computed elsewhere (`keyreeve-identity`); here is what a right or a wrong one does to
//! the record. A factor that is not confirmed proves nothing, and its row is forgotten soon.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;

use crate::access::MfaKind;
use crate::field::SealedField;
use crate::filed::{FiledRecord, RowId};
use crate::ids::{ApprovalId, MfaId, TokenId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// Factors of one principal at most, those that are not confirmed included.
pub const FACTORS_MAX: usize = 16;
/// How long a factor may wait for its confirmation.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(10 * 60);
/// How long a challenge stands.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(5 * 60);
/// How long an invitation stands at most.
pub const INVITATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Wrong codes since the last right one after which a factor pauses, for [`PAUSE`] and twice as long after each further
/// one, up to [`PAUSE_MAX`]. Three of a million codes are right at a time, so a guesser, who needs the person's token
/// besides, has an even chance after about 26 years.
pub const WRONG_CODES_MAX: u32 = 5;
/// See [`WRONG_CODES_MAX`].
pub const PAUSE: Duration = Duration::from_secs(5 * 60);
/// See [`WRONG_CODES_MAX`].
pub const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// The hash function under codes by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TotpAlgorithm {
    /// HMAC-SHA-1: what every application computes.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
}

/// What a factor is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Factor {
    /// Codes by time (RFC 6238), six digits, 30 seconds.
    Totp {
        /// The seed.
        seed: SealedField,
        /// The hash function.
        algorithm: TotpAlgorithm,
        /// The step of the last code that was taken; no code of it or before is taken again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_step: Option<u64>,
    },
    /// An authenticator (W3C WebAuthn level 3).
    Webauthn {
        /// The credential's name, hexadecimal.
        credential_id: String,
        /// The public key (RFC 9052), hexadecimal.
        cose_key: String,
        /// The signature counter as it was last.
        sign_count: u32,
        /// The authenticator may copy the credential elsewhere.
        backup_eligible: bool,
        /// It has.
        backed_up: bool,
        /// The model it says it is, hexadecimal; not proven.
        aaguid: String,
        /// How the browser reaches it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        transports: BTreeSet<String>,
    },
    /// Codes on paper, each good once.
    Recovery {
        /// HMAC-SHA-256 of each, hexadecimal; empty where the code was used.
        codes: Vec<String>,
    },
}

/// A second factor of a principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MfaCredential {
    /// Its name. Of an authenticator it follows from the credential's, so that none is registered twice.
    pub id: MfaId,
    /// Whose it is.
    pub principal: Name,
    /// What the person calls it.
    pub label: Label,
    /// What it is made of.
    pub factor: Factor,
    /// When it was made.
    pub created: UnixMillis,
    /// When its owner showed that it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<UnixMillis>,
    /// When it last proved something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<UnixMillis>,
    /// Wrong codes since the last right one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wrong: u32,
    /// When the last of them came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wrong: Option<UnixMillis>,
    /// The token that it was begun with, until it is confirmed, with that one and no other. None without a token, with
    /// a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_with: Option<TokenId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Why a factor does not do what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MfaRefusal {
    /// It was confirmed before.
    #[error("the second factor is confirmed already")]
    Confirmed,
    /// Nobody confirmed it in time.
    #[error("the enrolment was not finished in time; start it again")]
    TooLate,
    /// Too many wrong codes.
    #[error("too many wrong codes; the factor can be used again at {until}")]
    Paused {
        /// From then on.
        until: UnixMillis,
    },
}

impl MfaCredential {
    /// A new factor that proves nothing yet.
    #[must_use]
    pub const fn new(id: MfaId, principal: Name, label: Label, factor: Factor, now: UnixMillis) -> Self {
        Self {
            id,
            principal,
            label,
            factor,
            created: now,
            confirmed: None,
            last_used: None,
            wrong: 0,
            last_wrong: None,
            begun_with: None,
        }
    }

    /// The same, to be confirmed with the token that it is begun with.
    #[must_use]
    pub fn begun_with(self, token: Option<TokenId>) -> Self {
        Self { begun_with: token, ..self }
    }

    /// What kind of proof it gives.
    #[must_use]
    pub const fn kind(&self) -> MfaKind {
        match self.factor {
            Factor::Totp { .. } => MfaKind::Totp,
            Factor::Webauthn { .. } => MfaKind::Webauthn,
            Factor::Recovery { .. } => MfaKind::Recovery,
        }
    }

    /// True when it can prove something: confirmed, and for codes on paper that some are left.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let left = match &self.factor {
            Factor::Totp { .. } | Factor::Webauthn { .. } => true,
            Factor::Recovery { codes } => codes.iter().any(|code| !code.is_empty()),
        };
        self.confirmed.is_some() && left
    }

    /// True for a factor that a person carries, false for codes on paper: those are for the day when it is lost.
    #[must_use]
    pub const fn is_carried(&self) -> bool {
        !matches!(self.factor, Factor::Recovery { .. })
    }

    /// Codes on paper that are left; none for another factor.
    #[must_use]
    pub fn codes_left(&self) -> Option<usize> {
        match &self.factor {
            Factor::Recovery { codes } => Some(codes.iter().filter(|code| !code.is_empty()).count()),
            Factor::Totp { .. } | Factor::Webauthn { .. } => None,
        }
    }

    /// Whether an answer may be looked at at all.
    ///
    /// # Errors
    /// [`MfaRefusal::Paused`] after too many wrong ones.
    pub fn admit(&self, now: UnixMillis) -> Result<(), MfaRefusal> {
        let Some(last) = self.last_wrong else { return Ok(()) };
        let Some(further) = self.wrong.checked_sub(WRONG_CODES_MAX) else { return Ok(()) };
        let until = last.plus(PAUSE.saturating_mul(2u32.saturating_pow(further)).min(PAUSE_MAX));
        if now < until { Err(MfaRefusal::Paused { until }) } else { Ok(()) }
    }

    /// Whether the owner may confirm it now.
    ///
    /// # Errors
    /// [`MfaRefusal::Confirmed`], [`MfaRefusal::TooLate`].
    pub fn confirmable(&self, now: UnixMillis) -> Result<(), MfaRefusal> {
        if self.confirmed.is_some() {
            Err(MfaRefusal::Confirmed)
        } else if now >= self.created.plus(CONFIRM_WITHIN) {
            Err(MfaRefusal::TooLate)
        } else {
            Ok(())
        }
    }

    /// After a wrong code.
    #[must_use]
    pub fn after_wrong(&self, now: UnixMillis) -> Self {
        Self { wrong: self.wrong.saturating_add(1), last_wrong: Some(now), ..self.clone() }
    }

    /// After a right answer, which also confirms it.
    #[must_use]
    pub fn after_right(&self, factor: Factor, now: UnixMillis) -> Self {
        let confirmed = Some(self.confirmed.unwrap_or(now));
        let begun_with = None;
        Self { factor, confirmed, last_used: Some(now), wrong: 0, last_wrong: None, begun_with, ..self.clone() }
    }
}

impl FiledRecord for MfaCredential {
    const TABLE: Table = Table::Mfa;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.principal.as_str().to_owned()
    }

    fn forget(&self) -> Option<UnixMillis> {
        self.confirmed.is_none().then(|| self.created.plus(CONFIRM_WITHIN))
    }
}

/// What a challenge is for; an answer to one purpose is none to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum ChallengePurpose {
    /// To register an authenticator.
    Enrol,
    /// To make a token's proof fresh.
    StepUp {
        /// The token.
        token: TokenId,
    },
    /// To sign a vote.
    Vote {
        /// On what.
        approval: ApprovalId,
        /// SHA-256 of what is voted on and how, hexadecimal.
        digest: String,
    },
    /// To enrol a first factor, by somebody who was sent this invitation.
    Invitation {
        /// SHA-256 of the invitation's code, hexadecimal.
        code_sha256: String,
        /// Who invited.
        by: Name,
    },
}

/// A challenge that was given out, or an invitation; removed by the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MfaChallenge {
    /// Its name.
    pub id: MfaId,
    /// To whom.
    pub principal: Name,
    /// 32 random bytes, hexadecimal; empty for an invitation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub challenge: String,
    /// What it is for.
    pub purpose: ChallengePurpose,
    /// The token that an authenticator's registration was begun with, and is finished with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_with: Option<TokenId>,
    /// When it ends.
    pub expires: UnixMillis,
}

impl MfaChallenge {
    /// True while it may be answered.
    #[must_use]
    pub fn stands(&self, now: UnixMillis) -> bool {
        now < self.expires
    }
}

impl FiledRecord for MfaChallenge {
    const TABLE: Table = Table::MfaChallenges;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.principal.as_str().to_owned()
    }

    fn forget(&self) -> Option<UnixMillis> {
        Some(self.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_795_338_000_000);

    fn totp(last_step: Option<u64>) -> Factor {
        Factor::Totp { seed: SealedField::new(vec![1, 2]), algorithm: TotpAlgorithm::Sha1, last_step }
    }

    fn credential() -> MfaCredential {
        let id = MfaId::new(START, [1; 10]);
        MfaCredential::new(id, "alice".parse().unwrap(), "phone".parse().unwrap(), totp(None), START)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_factor_proves_nothing_until_it_is_confirmed_in_time() {
        let new = credential();
        assert!(!new.is_usable());
        assert_eq!(new.forget(), Some(START.plus(CONFIRM_WITHIN)));
        assert_eq!(new.confirmable(START.plus(seconds(599))), Ok(()));
        assert_eq!(new.confirmable(START.plus(seconds(600))), Err(MfaRefusal::TooLate));
        let confirmed = new.after_right(totp(Some(7)), START.plus(seconds(5)));
        assert!(confirmed.is_usable());
        assert_eq!(confirmed.forget(), None);
        assert_eq!(confirmed.confirmable(START.plus(seconds(6))), Err(MfaRefusal::Confirmed));
        let later = confirmed.after_right(totp(Some(8)), START.plus(seconds(90)));
        assert_eq!((later.confirmed, later.last_used), (Some(START.plus(seconds(5))), Some(START.plus(seconds(90)))));
    }

    #[test]
    fn wrong_codes_pause_a_factor_for_longer_and_longer() {
        let mut factor = credential().after_right(totp(None), START);
        for second in 1..=5 {
            assert_eq!(factor.admit(START.plus(seconds(second))), Ok(()));
            factor = factor.after_wrong(START.plus(seconds(second)));
        }
        let mut last = START.plus(seconds(5));
        for pause in [300, 600, 1200, 2400, 3600, 3600] {
            let until = last.plus(seconds(pause));
            assert_eq!(factor.admit(UnixMillis(until.0 - 1)), Err(MfaRefusal::Paused { until }));
            assert_eq!(factor.admit(until), Ok(()));
            (factor, last) = (factor.after_wrong(until), until);
        }
        assert_eq!(factor.after_right(totp(None), last).admit(last), Ok(()));
    }

    #[test]
    fn codes_on_paper_run_out() {
        let codes =
            |left: usize| Factor::Recovery { codes: [vec!["ab".to_owned(); left], vec![String::new(); 2]].concat() };
        let full = credential().after_right(codes(3), START);
        assert_eq!((full.codes_left(), full.is_usable(), full.is_carried()), (Some(3), true, false));
        assert!(!full.after_right(codes(0), START).is_usable());
    }

    #[test]
    fn records_come_back_and_what_they_do_not_know_is_not_read() {
        let text = serde_json::to_string(&credential()).unwrap();
        assert_eq!(serde_json::from_str::<MfaCredential>(&text).unwrap(), credential());
        assert!(serde_json::from_str::<MfaCredential>(&text.replace("\"label\"", "\"lable\"")).is_err());
        let purpose = ChallengePurpose::StepUp { token: TokenId::from_bytes([3; 16]) };
        let challenge = MfaChallenge {
            id: MfaId::from_bytes([4; 16]),
            principal: "alice".parse().unwrap(),
            challenge: "00".repeat(32),
            purpose,
            begun_with: None,
            expires: START,
        };
        let text = serde_json::to_string(&challenge).unwrap();
        assert_eq!(serde_json::from_str::<MfaChallenge>(&text).unwrap(), challenge);
        assert!(!challenge.stands(START) && challenge.stands(UnixMillis(START.0 - 1)));
    }
}
