//! The catalogue of operations: the one list of everything Keyreeve can be asked to do.
//!
//! From it come the policy schema, the audit event list, the permission table of every protocol and the tests that fail
//! when an operation lacks an authorization or an audit case. Adding an operation starts here;
//! docs/adding-an-operation.md has the steps.

use keyreeve_audit::Class;
use keyreeve_policy::{ActionSpec, ResourceKind, groups};

/// How an operation leaves its mark in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditClass {
    /// One record for each call, of this class, also when refused or failed.
    Recorded(Class),
    /// No record: the answer reveals nothing but whether the server is well. Only counted. The list of such operations
    /// is fixed by a test and reviewed by hand.
    Counted,
}

/// What must be so before an operation can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The root of trust is open.
    Open,
    /// Nothing: it runs also while the server is sealed.
    Nothing,
}

/// One row of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The operation's name, which is also its action in policies.
    pub name: &'static str,
    /// What kind of thing it acts on.
    pub resource: ResourceKind,
    /// The groups of actions it belongs to, for policies.
    pub groups: &'static [&'static str],
    /// Its mark in the audit log.
    pub audit: AuditClass,
    /// What must be so before it runs.
    pub needs: Needs,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The action that must be allowed as well, on a second thing that it acts on.
    pub also: Option<&'static str>,
}

impl Descriptor {
    /// The row as the policy floor wants it.
    #[must_use]
    pub const fn action(&self) -> ActionSpec {
        ActionSpec { name: self.name, resource: self.resource, groups: self.groups }
    }
}

macro_rules! second {
    () => {
        None
    };
    ($also:literal) => {
        Some($also)
    };
}

macro_rules! catalogue {
    ($(
        $constant:ident = $name:literal, $resource:ident, [$($group:ident),*], $audit:expr, $needs:ident,
        $summary:literal $(, also $also:literal)?;
    )+) => {
        $(
            #[doc = $summary]
            pub static $constant: Descriptor = Descriptor {
                name: $name,
                resource: ResourceKind::$resource,
                groups: &[$(groups::$group),*],
                audit: $audit,
                needs: Needs::$needs,
                summary: $summary,
                also: second!($($also)?),
            };
        )+

        /// Every operation.
        pub static ALL: &[&Descriptor] = &[$(&$constant,)+];
    };
}

const READ: AuditClass = AuditClass::Recorded(Class::Read);
const USE: AuditClass = AuditClass::Recorded(Class::Use);
const CHANGE: AuditClass = AuditClass::Recorded(Class::Change);
const ACCESS: AuditClass = AuditClass::Recorded(Class::Access);
const SYSTEM: AuditClass = AuditClass::Recorded(Class::System);

catalogue! {
    SYSTEM_HEALTH = "system.health", System, [BOOTSTRAP], AuditClass::Counted, Nothing,
        "Tells whether the server is alive and ready.";
    SYSTEM_STATUS = "system.status", System, [BOOTSTRAP, SYSTEM], AuditClass::Counted, Nothing,
        "Tells whether the server is initialised and open, and how many shares are missing.";
    SYSTEM_METRICS = "system.metrics", System, [BOOTSTRAP, SYSTEM], AuditClass::Counted, Nothing,
        "Shows the server's counters for monitoring.";
    REQUEST_REFUSE = "request.refuse", System, [BOOTSTRAP], ACCESS, Nothing,
        "Puts on record what was refused before it became an operation: unreadable, too large, of no route.";
    SYSTEM_INIT = "system.init", System, [BOOTSTRAP], SYSTEM, Nothing,
        "Makes the root of trust and the first administrator; once.";
    SYSTEM_UNSEAL = "system.unseal", System, [BOOTSTRAP], SYSTEM, Nothing,
        "Gives one share of the root of trust.";
    SYSTEM_SEAL = "system.seal", System, [SYSTEM], SYSTEM, Open,
        "Closes the root of trust and wipes every key from memory.";
    KEYRING_CREATE = "keyring.create", Keyring, [LIFECYCLE], CHANGE, Open,
        "Makes a keyring with its own key-encryption key.";
    KEYRING_LIST = "keyring.list", System, [READ], READ, Open, "Lists keyrings.";
    KEYRING_DESCRIBE = "keyring.describe", Keyring, [READ], READ, Open, "Shows a keyring.";
    KEY_CREATE = "key.create", Key, [LIFECYCLE], CHANGE, Open, "Generates a key.";
    KEY_LIST = "key.list", System, [READ], READ, Open, "Lists and searches keys.";
    KEY_DESCRIBE = "key.describe", Key, [READ], READ, Open,
        "Shows a key: metadata, versions, states, history, public halves.";
    KEY_UPDATE = "key.update", Key, [LIFECYCLE], CHANGE, Open,
        "Alters a key's metadata: aliases, labels, owner and the like.", also "key.update";
    KEY_ACTIVATE = "key.activate", Key, [LIFECYCLE], CHANGE, Open, "Activates a key or lifts its suspension.";
    KEY_SUSPEND = "key.suspend", Key, [LIFECYCLE], CHANGE, Open, "Halts all use of a key for a time.";
    KEY_DEACTIVATE = "key.deactivate", Key, [LIFECYCLE], CHANGE, Open,
        "Ends protection with a key; it still processes what it protected.";
    KEY_COMPROMISE = "key.compromise", Key, [LIFECYCLE], CHANGE, Open,
        "Records that a key or one of its versions may be known to others, and stops its use.";
    KEY_ROTATE = "key.rotate", Key, [LIFECYCLE], CHANGE, Open,
        "Makes a new version of a key; older versions go on processing.";
    KEY_SCHEDULE_DESTRUCTION = "key.schedule-destruction", Key, [LIFECYCLE], CHANGE, Open,
        "Starts the waiting period of 7 to 30 days after which a key is destroyed.";
    KEY_CANCEL_DESTRUCTION = "key.cancel-destruction", Key, [LIFECYCLE], CHANGE, Open,
        "Ends the waiting period; the key is as before.";
    KEY_DESTROY = "key.destroy", Key, [LIFECYCLE, SCHEDULED], CHANGE, Open,
        "Erases all material of a key whose waiting period is over, and proves it.";
    KEY_VERIFY_DESTRUCTION = "key.verify-destruction", Key, [SCHEDULED], CHANGE, Open,
        "Shows that a destroyed key is gone; done by the server itself after each destruction.";
    KEY_DESTRUCTION = "key.destruction", Key, [READ], READ, Open, "Shows the destruction record of a key.";
    KEY_ENCRYPT = "key.encrypt", Key, [ENCRYPT_SIDE], USE, Open, "Encrypts data.";
    KEY_DECRYPT = "key.decrypt", Key, [DECRYPT_SIDE], USE, Open, "Decrypts data.";
    KEY_RE_ENCRYPT_FROM = "key.re-encrypt-from", Key, [DECRYPT_SIDE], USE, Open,
        "Decrypts under this key to encrypt under another; the plaintext does not leave the server.",
        also "key.re-encrypt-to";
    KEY_RE_ENCRYPT_TO = "key.re-encrypt-to", Key, [ENCRYPT_SIDE], USE, Open,
        "Encrypts under this key what was under another.";
    KEY_REWRAP = "key.rewrap", Key, [ENCRYPT_SIDE], USE, Open,
        "Encrypts a ciphertext or data key anew under the key's newest version; its plaintext stays in the server.";
    KEY_GENERATE_DATA_KEY = "key.generate-data-key", Key, [ENCRYPT_SIDE], USE, Open,
        "Makes a data key and returns it in plain and wrapped.";
    KEY_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "key.generate-data-key-without-plaintext", Key, [ENCRYPT_SIDE], USE, Open,
        "Makes a data key and returns it wrapped only.";
    KEY_UNWRAP_DATA_KEY = "key.unwrap-data-key", Key, [DECRYPT_SIDE], USE, Open, "Unwraps a data key.";
    KEY_SIGN = "key.sign", Key, [SIGN_SIDE], USE, Open, "Signs a message or digest.";
    KEY_VERIFY = "key.verify", Key, [VERIFY_SIDE], USE, Open, "Verifies a signature.";
    KEY_MAC = "key.mac", Key, [SIGN_SIDE], USE, Open, "Computes a message authentication code.";
    KEY_VERIFY_MAC = "key.verify-mac", Key, [VERIFY_SIDE], USE, Open,
        "Verifies a message authentication code.";
    KEY_DERIVE = "key.derive", Key, [DERIVE_SIDE], USE, Open,
        "Derives a key (HKDF or SP 800-108) and returns it.";
    KEY_WRAP = "key.wrap", Key, [ENCRYPT_SIDE], USE, Open, "Wraps a caller's key with AES-KW or AES-KWP.";
    KEY_UNWRAP = "key.unwrap", Key, [DECRYPT_SIDE], USE, Open,
        "Unwraps a caller's key with AES-KW or AES-KWP.";
    KEY_ENCAPSULATE = "key.encapsulate", Key, [ENCRYPT_SIDE], USE, Open,
        "Makes a shared secret and encapsulates it to the key (ML-KEM).";
    KEY_DECAPSULATE = "key.decapsulate", Key, [DECRYPT_SIDE], USE, Open,
        "Recovers an encapsulated shared secret (ML-KEM).";
    KEY_AGREE = "key.agree", Key, [DERIVE_SIDE], USE, Open,
        "Agrees a shared secret with a peer's public key (ECDH, X25519).";
    RANDOM_GENERATE = "random.generate", System, [SELF], USE, Open, "Returns random bytes.";
    ALGORITHM_LIST = "algorithm.list", System, [SELF], READ, Open,
        "Lists algorithms with strength, status and sunset.";
    TOKEN_CREATE = "token.create", Token, [ACCESS], ACCESS, Open, "Issues a bearer token for a principal.";
    TOKEN_LIST = "token.list", System, [ACCESS], READ, Open, "Lists tokens.";
    TOKEN_REVOKE = "token.revoke", Token, [ACCESS], ACCESS, Open, "Revokes a token at once.";
    TOKEN_SELF = "token.self", System, [SELF], READ, Open, "Shows who the caller is.";
    PRINCIPAL_PUT = "principal.put", Principal, [ACCESS], ACCESS, Open,
        "Makes or alters a principal: roles, certificates, networks.", also "principal.put";
    PRINCIPAL_LIST = "principal.list", System, [ACCESS], READ, Open, "Lists principals.";
    PRINCIPAL_DESCRIBE = "principal.describe", Principal, [ACCESS], READ, Open, "Shows a principal.";
    PRINCIPAL_DELETE = "principal.delete", Principal, [ACCESS], ACCESS, Open,
        "Removes a principal; its tokens end with it.";
    POLICY_PUT = "policy.put", Policy, [ACCESS], ACCESS, Open,
        "Makes or replaces a policy; it is validated before it applies.";
    POLICY_LIST = "policy.list", System, [ACCESS, AUDIT], READ, Open, "Lists policies.";
    POLICY_DESCRIBE = "policy.describe", Policy, [ACCESS, AUDIT], READ, Open, "Shows a policy.";
    POLICY_DELETE = "policy.delete", Policy, [ACCESS], ACCESS, Open, "Removes a policy.";
    POLICY_EXPLAIN = "policy.explain", System, [ACCESS, AUDIT], READ, Open,
        "Answers whether a principal may do something, and why.";
    AUDIT_SEARCH = "audit.search", Audit, [AUDIT], READ, Open, "Searches the audit log.";
    AUDIT_PROVE = "audit.prove", Audit, [AUDIT, SELF], READ, Open,
        "Proves that an operation is in the audit log.";
    AUDIT_READ = "audit.read", Audit, [AUDIT], READ, Open, "Hands out the audit log's checkpoint and tiles.";
}

/// The row of this name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<&'static Descriptor> {
    ALL.iter().copied().find(|row| row.name == name)
}

/// All rows as the policy floor wants them.
#[must_use]
pub fn actions() -> Vec<ActionSpec> {
    ALL.iter().map(|row| row.action()).collect()
}
