//! Second factors of people.

use super::{ACCESS, READ};

super::rows! {
    MFA_STATUS = "mfa.status", System, [SELF], READ, Open, "Shows the caller's own second factors.";
    MFA_TOTP_START = "mfa.totp-start", System, [SELF], ACCESS, Open,
        "Makes the seed of one-time codes for the caller, shown this once.";
    MFA_TOTP_FINISH = "mfa.totp-finish", System, [SELF], ACCESS, Open,
        "Confirms the caller's one-time codes with one of them.";
    MFA_WEBAUTHN_START = "mfa.webauthn-start", System, [SELF], ACCESS, Open,
        "Makes the challenge with which the caller registers an authenticator.";
    MFA_WEBAUTHN_FINISH = "mfa.webauthn-finish", System, [SELF], ACCESS, Open,
        "Registers an authenticator of the caller.";
    MFA_CHALLENGE = "mfa.challenge", System, [SELF], ACCESS, Open,
        "Makes a challenge for the caller's authenticators to sign.";
    MFA_VERIFY = "mfa.verify", System, [SELF], ACCESS, Open,
        "Shows a second factor: the caller's token carries the proof from then on.";
    MFA_RECOVERY_CODES = "mfa.recovery-codes", System, [SELF], ACCESS, Open,
        "Makes the caller's recovery codes anew, shown this once.";
    MFA_REMOVE = "mfa.remove", System, [SELF], ACCESS, Open, "Removes one of the caller's second factors.";
    MFA_INVITE = "mfa.invite", Principal, [ACCESS], ACCESS, Open,
        "Makes an invitation with which a person enrols a first second factor.";
    MFA_RESET = "mfa.reset", Principal, [ACCESS], ACCESS, Open, "Removes all second factors of a person.";
    MFA_LIST = "mfa.list", Principal, [ACCESS], READ, Open, "Shows the second factors of a person.";
}
