//! The closed lists of names on the wire. A test of the REST crate compares them with the server's own.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A name that is not in its list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown {kind}; known: {known}")]
pub struct UnknownName {
    kind: &'static str,
    known: String,
}

macro_rules! names {
    ($(#[doc = $doc:literal])+ $name:ident, $kind:literal {
        $($(#[doc = $about:literal])+ $variant:ident = $wire:literal,)+
    }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $about])+ #[serde(rename = $wire)] $variant,)+ }

        // Not derived: the derive does not see names that come out of a macro.
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let about = concat!($($doc,)+ $("\n- `", $wire, "`:", $($about,)+)+);
                let names = Self::ALL.iter().map(|one| one.name());
                let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
                schema.description(Some(about.trim())).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $wire,)+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let known = || Self::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
                let found = Self::ALL.iter().copied().find(|one| one.name() == text);
                found.ok_or_else(|| UnknownName { kind: $kind, known: known() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

names! {
    /// What a key is.
    Algorithm, "algorithm" {
        /// XAES-256-GCM (C2SP): the default.
        Xaes256Gcm = "xaes-256-gcm",
        /// AES-256-GCM (SP 800-38D), at most 2^32 messages per version.
        Aes256Gcm = "aes-256-gcm",
        /// AES-256-GCM-SIV (RFC 8452), deterministic.
        Aes256GcmSiv = "aes-256-gcm-siv",
        /// ChaCha20-Poly1305 (RFC 8439), at most 2^32 messages per version.
        ChaCha20Poly1305 = "chacha20-poly1305",
        /// HMAC-SHA-256 (FIPS 198-1).
        HmacSha256 = "hmac-sha256",
        /// HMAC-SHA-384.
        HmacSha384 = "hmac-sha384",
        /// HMAC-SHA-512.
        HmacSha512 = "hmac-sha512",
        /// RSA, 2048 bits: sign or encrypt.
        Rsa2048 = "rsa-2048",
        /// RSA, 3072 bits.
        Rsa3072 = "rsa-3072",
        /// RSA, 4096 bits.
        Rsa4096 = "rsa-4096",
        /// P-256: ECDSA or ECDH.
        EcP256 = "ec-p256",
        /// P-384.
        EcP384 = "ec-p384",
        /// P-521.
        EcP521 = "ec-p521",
        /// Ed25519 (RFC 8032).
        Ed25519 = "ed25519",
        /// X25519 (RFC 7748).
        X25519 = "x25519",
        /// ML-KEM-768 (FIPS 203).
        MlKem768 = "ml-kem-768",
        /// ML-KEM-1024.
        MlKem1024 = "ml-kem-1024",
        /// ML-DSA-44 (FIPS 204).
        MlDsa44 = "ml-dsa-44",
        /// ML-DSA-65.
        MlDsa65 = "ml-dsa-65",
        /// ML-DSA-87.
        MlDsa87 = "ml-dsa-87",
        /// AES-256 key wrapping (SP 800-38F).
        Aes256Kw = "aes-256-kw",
        /// A 256-bit key-derivation key.
        Kdk256 = "kdk-256",
    }
}

names! {
    /// The one thing a key is for.
    Purpose, "purpose" {
        /// Encrypt and decrypt; generate and unwrap data keys.
        Encrypt = "encrypt",
        /// Sign and verify.
        Sign = "sign",
        /// Make and verify authentication tags.
        Mac = "mac",
        /// Wrap and unwrap keys.
        Wrap = "wrap",
        /// Derive keys.
        Derive = "derive",
        /// Agree on shared secrets.
        Agree = "agree",
        /// Encapsulate and decapsulate shared secrets.
        Encapsulate = "encapsulate",
    }
}

names! {
    /// Which half of its purpose a key may serve.
    Scope, "scope" {
        /// Protect and process.
        Both = "both",
        /// Only protect: encrypt, sign.
        ApplyOnly = "apply-only",
        /// Only process: decrypt, verify.
        ProcessOnly = "process-only",
    }
}

names! {
    /// Where a key's material is while it is used.
    Protection, "protection" {
        /// In the server's memory; wrapped in its store.
        Software = "software",
        /// Inside a hardware security module, made there, never to leave it.
        Hsm = "hsm",
    }
}

/// What is not said.
impl Default for Protection {
    fn default() -> Self {
        Self::Software
    }
}

names! {
    /// A key's state (SP 800-57 part 1 §7).
    State, "state" {
        /// Generated, not yet in use.
        PreActivation = "pre-activation",
        /// In use.
        Active = "active",
        /// Halted for a time.
        Suspended = "suspended",
        /// Protects nothing new, still processes what it protected.
        Deactivated = "deactivated",
        /// May be known to others.
        Compromised = "compromised",
        /// The material is gone.
        Destroyed = "destroyed",
        /// Destroyed, and found compromised before or after.
        DestroyedCompromised = "destroyed-compromised",
    }
}

names! {
    /// Sensitivity of what a key protects.
    Classification, "classification" {
        /// For everybody.
        Public = "public",
        /// For the organisation.
        Internal = "internal",
        /// For those who need it.
        Confidential = "confidential",
        /// Damage if known.
        Restricted = "restricted",
    }
}

names! {
    /// Where a key is used; production and other keys are never shared.
    Environment, "environment" {
        /// Live data.
        Production = "production",
        /// A copy of production without its data.
        Staging = "staging",
        /// Developers' machines and tests.
        Development = "development",
    }
}

names! {
    /// When a new key starts.
    Activation, "activation" {
        /// At once.
        Now = "now",
        /// When somebody activates it.
        OnRequest = "on-request",
    }
}

names! {
    /// How a signature is made.
    Scheme, "signature scheme" {
        /// RSASSA-PSS with SHA-256 (RFC 8017).
        RsaPssSha256 = "rsa-pss-sha256",
        /// RSASSA-PSS with SHA-384.
        RsaPssSha384 = "rsa-pss-sha384",
        /// RSASSA-PSS with SHA-512.
        RsaPssSha512 = "rsa-pss-sha512",
        /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
        RsaPkcs1Sha256 = "rsa-pkcs1-sha256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RsaPkcs1Sha384 = "rsa-pkcs1-sha384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RsaPkcs1Sha512 = "rsa-pkcs1-sha512",
        /// ECDSA on P-256 with SHA-256, ASN.1 DER (FIPS 186-5).
        EcdsaSha256 = "ecdsa-sha256",
        /// ECDSA on P-384 with SHA-384, ASN.1 DER.
        EcdsaSha384 = "ecdsa-sha384",
        /// ECDSA on P-521 with SHA-512, ASN.1 DER.
        EcdsaSha512 = "ecdsa-sha512",
        /// Ed25519 (RFC 8032).
        Ed25519 = "ed25519",
        /// ML-DSA-44 (FIPS 204).
        MlDsa44 = "ml-dsa-44",
        /// ML-DSA-65.
        MlDsa65 = "ml-dsa-65",
        /// ML-DSA-87.
        MlDsa87 = "ml-dsa-87",
    }
}

names! {
    /// A hash function (FIPS 180-4).
    Hash, "hash function" {
        /// SHA-256, 32 bytes.
        Sha256 = "sha256",
        /// SHA-384, 48 bytes.
        Sha384 = "sha384",
        /// SHA-512, 64 bytes.
        Sha512 = "sha512",
    }
}

names! {
    /// How keys are wrapped (SP 800-38F).
    WrapMode, "wrapping mode" {
        /// With padding (RFC 5649): a key of any length. The default.
        Kwp = "kwp",
        /// Without padding (RFC 3394): a multiple of 8 bytes, at least 16.
        Kw = "kw",
    }
}

names! {
    /// How key material is wrapped on its way in or out; docs/formats.md has the forms.
    WrappingMethod, "wrapping method" {
        /// RSA-OAEP with SHA-256 of the material itself: for symmetric keys, which fit.
        RsaOaepSha256 = "rsa-oaep-sha256",
        /// RSA-OAEP with SHA-256 of an ephemeral AES-256 key, and AES-KWP of the material under that: PKCS #11's
        /// CKM_RSA_AES_KEY_WRAP.
        RsaAesKwp = "rsa-aes-kwp",
        /// X25519 and ML-KEM-768 together, and AES-KWP of the material.
        X25519MlKem768 = "x25519-ml-kem-768",
        /// ECDH on P-384 and ML-KEM-1024 together, and AES-KWP of the material.
        P384MlKem1024 = "p384-ml-kem-1024",
    }
}

names! {
    /// Where material came from.
    Origin, "origin" {
        /// Made by the cryptographic module's generator.
        Generated = "generated",
        /// Brought by a caller.
        Imported = "imported",
    }
}

names! {
    /// Where the root of trust stands.
    RootState, "state of the root of trust" {
        /// `init` has not been done.
        NotInitialised = "not-initialised",
        /// Closed.
        Sealed = "sealed",
        /// Open.
        Open = "open",
    }
}

names! {
    /// How well a root of trust keeps its key, lowest first.
    Custody, "custody" {
        /// In a file of the machine.
        Software = "software",
        /// Inside a key management service, or opened by people or a TPM.
        Kms = "kms",
        /// Inside a hardware security module.
        Hsm = "hsm",
    }
}

names! {
    /// Which kind of key a share is encrypted to.
    RecipientKind, "kind of recipient" {
        /// An age recipient (X25519).
        Age = "age",
        /// An OpenPGP certificate.
        OpenPgp = "openpgp",
    }
}

names! {
    /// Where long work stands.
    JobState, "state of a job" {
        /// It goes on by itself.
        Running = "running",
        /// All is done.
        Done = "done",
        /// Somebody stopped it; what it had done stays.
        Cancelled = "cancelled",
        /// It was given up: too many steps failed in a row, or trying again could not help.
        Failed = "failed",
    }
}

names! {
    /// How many of several roots of trust it takes.
    RootNeed, "need of roots" {
        /// Any one of them opens.
        Any = "any",
        /// All of them together open.
        All = "all",
    }
}

names! {
    /// What an algorithm may be used for today.
    AlgorithmStatus, "algorithm status" {
        /// Everything.
        Acceptable = "acceptable",
        /// Everything, but its end is set.
        Deprecated = "deprecated",
        /// Only decrypting, verifying, unwrapping what exists.
        LegacyProcessOnly = "legacy-process-only",
        /// Nothing.
        Disallowed = "disallowed",
    }
}

names! {
    /// What kind of actor a principal is.
    PrincipalKind, "kind of principal" {
        /// A human being.
        Person = "person",
        /// A program.
        Service = "service",
    }
}

names! {
    /// How a recorded operation ended.
    Outcome, "outcome" {
        /// Done.
        Ok = "ok",
        /// Not allowed or not valid: nothing was done.
        Refused = "refused",
        /// Allowed, but something broke.
        Failed = "failed",
    }
}

names! {
    /// How an actor showed who it is.
    Method, "method of authentication" {
        /// A bearer token.
        Token = "token",
        /// A client certificate.
        Mtls = "mtls",
        /// A share of the root of trust.
        Share = "share",
        /// The server itself.
        System = "system",
        /// Nothing.
        Anonymous = "anonymous",
    }
}

names! {
    /// What kind of act a record is of.
    Class, "class of records" {
        /// Something was looked at.
        Read = "read",
        /// A key was used.
        Use = "use",
        /// A key, keyring or policy was changed.
        Change = "change",
        /// Tokens, principals, policies.
        Access = "access",
        /// The server itself.
        System = "system",
    }
}

names! {
    /// What a policy statement does where it applies.
    Effect, "effect" {
        /// Permits.
        Permit = "permit",
        /// Forbids, and wins over every permit.
        Forbid = "forbid",
    }
}

names! {
    /// What somebody should look at.
    FindingKind, "kind of finding" {
        /// A grant that was not used for 90 days, or never.
        GrantUnused = "grant-unused",
        /// A person with roles and without a second factor.
        NoSecondFactor = "no-second-factor",
        /// The rules of approval are not in force.
        GovernanceFounding = "governance-founding",
        /// A review is late, or rights that nobody went through for 180 days.
        ReviewOverdue = "review-overdue",
        /// The book of rules lacks one that this version ships.
        RuleMissing = "rule-missing",
        /// Logins give roles, which the rows do not show.
        LoginRoles = "login-roles",
    }
}

names! {
    /// What a review goes through.
    ReviewSubject, "subject of a review" {
        /// Which roles principals have.
        Roles = "roles",
        /// Grants that are not over.
        Grants = "grants",
        /// Whom keys name as their consumers.
        Consumers = "consumers",
    }
}

names! {
    /// What is decided on a right.
    ReviewVerdict, "verdict of a review" {
        /// It stays.
        Keep = "keep",
        /// It goes, at once.
        Revoke = "revoke",
    }
}

names! {
    /// Where a grant stands.
    GrantState, "state of a grant" {
        /// It begins later.
        Pending = "pending",
        /// It is in force.
        Active = "active",
        /// It is over.
        Expired = "expired",
        /// It was taken back.
        Revoked = "revoked",
        /// It gives nothing, for its principal is disabled, removed, or another than it was given to.
        Inactive = "inactive",
    }
}

names! {
    /// What became of a policy.
    PolicyChange, "change of a policy" {
        /// It is new.
        Added = "added",
        /// Its text is another.
        Altered = "altered",
        /// It is gone.
        Removed = "removed",
    }
}

names! {
    /// What a draft of the policies on trial would have decided.
    ShadowVerdict, "verdict of a draft" {
        /// It would have allowed it.
        Allow = "allow",
        /// It would have refused it.
        Deny = "deny",
        /// It could not be evaluated, and would have refused.
        Error = "error",
    }
}

names! {
    /// Where a request stands that waits for consent.
    ApprovalState, "state of an approval" {
        /// Consent is missing.
        Waiting = "waiting",
        /// Everybody agreed; it may run.
        Approved = "approved",
        /// It ran.
        Executed = "executed",
        /// It waited too long, or was not run in time.
        Expired = "expired",
        /// Whoever asked took it back.
        Withdrawn = "withdrawn",
        /// Somebody refused.
        Rejected = "rejected",
    }
}

names! {
    /// How far a policy statement went for a request.
    Reach, "reach of a statement" {
        /// It applies.
        Applies = "applies",
        /// It is about other principals.
        OtherPrincipal = "other-principal",
        /// It is about other resources.
        OtherResource = "other-resource",
        /// One of its conditions does not hold.
        ConditionFalse = "condition-false",
        /// It could not be evaluated, so what it might be about is refused.
        Failed = "failed",
    }
}

names! {
    /// What a login method checks.
    LoginKind, "kind of login method" {
        /// People, at an OpenID Connect provider.
        Oidc = "oidc",
        /// Workloads, with a signed token of their platform.
        Jwt = "jwt",
        /// People, with the password of a directory.
        Ldap = "ldap",
        /// Whoever holds a client certificate that the listener trusts.
        Certificate = "certificate",
    }
}

names! {
    /// What happens to somebody whom a binding names and this deployment does not know.
    Provision, "way to provision" {
        /// Refused.
        Existing = "existing",
        /// A principal without roles of its own is made.
        Create = "create",
    }
}

names! {
    /// Whether one token of a platform may log in more than once.
    Reuse, "rule of reuse" {
        /// Once only.
        Refused = "refused",
        /// Until it ends: for platforms that give a workload one token for a longer time.
        Allowed = "allowed",
    }
}

names! {
    /// How a client shows its secret to an OpenID provider.
    ClientAuth, "way to show the client's secret" {
        /// In the header `Authorization` (`client_secret_basic`).
        Basic = "basic",
        /// In the body (`client_secret_post`), for providers that offer nothing else.
        Post = "post",
    }
}

names! {
    /// Where an emergency stands.
    EmergencyState, "state of an emergency" {
        /// Asked for; nobody may do anything by it.
        Declared = "declared",
        /// In force until its end.
        Active = "active",
        /// Over; the review at least is owed.
        UnderReview = "under-review",
        /// Signed off.
        Closed = "closed",
    }
}

names! {
    /// What an incident is about.
    IncidentKind, "kind of incident" {
        /// A key is or may be known to others.
        Compromise = "compromise",
        /// A key was halted in a hurry.
        Suspension = "suspension",
        /// Something that people describe themselves.
        Other = "other",
    }
}

names! {
    /// What a second factor is.
    MfaKind, "kind of second factor" {
        /// One-time codes (RFC 6238).
        Totp = "totp",
        /// An authenticator (W3C WebAuthn).
        Webauthn = "webauthn",
        /// Codes on paper.
        Recovery = "recovery",
        /// The identity provider says it asked for one.
        Provider = "provider",
    }
}

names! {
    /// The hash function under one-time codes.
    TotpHash, "hash function of one-time codes" {
        /// SHA-1: every application can.
        Sha1 = "sha1",
        /// SHA-256.
        Sha256 = "sha256",
    }
}

names! {
    /// What somebody says to a request that waits.
    VoteDecision, "decision" {
        /// Yes.
        Approve = "approve",
        /// No.
        Reject = "reject",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_list_the_names_of_the_wire() {
        let schema = serde_json::to_value(WrapMode::schema()).unwrap();
        assert_eq!(schema["enum"], serde_json::json!(["kwp", "kw"]));
        assert!(schema["description"].as_str().unwrap().contains("- `kw`: Without padding"), "{schema}");
    }

    #[test]
    fn names_read_back_and_others_are_refused() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(*algorithm));
            assert_eq!(serde_json::to_string(algorithm).unwrap(), format!("\"{algorithm}\""));
            assert_eq!(serde_json::from_str::<Algorithm>(&format!("\"{algorithm}\"")).unwrap(), *algorithm);
        }
        let error = "AES".parse::<WrapMode>().unwrap_err();
        assert_eq!(error.to_string(), "unknown wrapping mode; known: kwp, kw");
        assert!(serde_json::from_str::<State>("\"Active\"").is_err());
    }
}
