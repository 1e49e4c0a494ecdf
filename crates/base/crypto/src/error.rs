//! The errors of this crate: closed, and saying nothing about keys, plaintext, or why a check failed.

use crate::algorithm::{KeyAlgorithm, Purpose, SignatureScheme};
use crate::random::RandomError;
use crate::remote::RemoteFault;

/// Why a cryptographic operation was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The ciphertext, its additional data or the wrapped key is not what was made under this key. On purpose there is
    /// one variant for all causes: telling them apart would help an attacker who can submit ciphertexts.
    #[error("the ciphertext cannot be opened with this key and these additional data")]
    Open,
    /// The signature or authentication tag does not match.
    #[error("the signature or tag does not verify")]
    NotVerified,
    /// The key was made for another purpose (K3).
    #[error("this key is for {has}, the operation needs a key for {needed}")]
    WrongPurpose {
        /// The purpose the key has.
        has: Purpose,
        /// The purpose the operation needs.
        needed: Purpose,
    },
    /// The algorithm of the key does not offer this operation.
    #[error("a key of algorithm {algorithm} has no operation \"{operation}\"")]
    WrongAlgorithm {
        /// The algorithm of the key.
        algorithm: KeyAlgorithm,
        /// What was asked of it.
        operation: &'static str,
    },
    /// The algorithm cannot have this purpose.
    #[error("a key of algorithm {algorithm} cannot be made for {purpose}")]
    PurposeNotOffered {
        /// The algorithm.
        algorithm: KeyAlgorithm,
        /// The purpose that was asked for.
        purpose: Purpose,
    },
    /// The signature scheme does not fit the key.
    #[error("signature scheme {scheme} does not fit a key of algorithm {algorithm}")]
    SchemeMismatch {
        /// The algorithm of the key.
        algorithm: KeyAlgorithm,
        /// The scheme that was asked for.
        scheme: SignatureScheme,
    },
    /// The scheme signs messages, not digests of them.
    #[error("signature scheme {scheme} takes the whole message, not a digest")]
    DigestNotOffered {
        /// The scheme that was asked for.
        scheme: SignatureScheme,
    },
    /// A digest or other input has the wrong length (bytes).
    #[error("the input must have {expected} bytes, it has {actual}")]
    InputLength {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The input is longer than the algorithm takes (bytes).
    #[error("the input may have {max} bytes, it has {actual}")]
    InputTooLong {
        /// Most bytes the algorithm takes with this key.
        max: u64,
        /// Bytes given.
        actual: u64,
    },
    /// The input cannot be wrapped in this form: key wrapping without padding takes a multiple of 8 bytes, at least 16.
    #[error("only a multiple of 8 bytes, at least 16, can be wrapped without padding; use the padded form")]
    WrapLength,
    /// More derived bytes were asked for than the function gives (bytes), or none.
    #[error("between 1 and {max} bytes can be derived at once")]
    OutputLength {
        /// Most bytes that may be asked for.
        max: usize,
    },
    /// A key-derivation label with a zero byte: the zero byte separates label from context (SP 800-108r1, 4.1).
    #[error("a key-derivation label must not contain a zero byte")]
    Label,
    /// Key material was refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The random generator has failed and gives nothing any more.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The key is inside a device, and the device did not do it.
    #[error("the device that holds this key {0}")]
    Remote(RemoteFault),
    /// The cryptographic module refused an operation that should have worked.
    #[error("the cryptographic module failed; run the self-tests and restart")]
    Module,
}

/// Why key material was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Below the strength floor: symmetric keys have at least 256 bits (K20), RSA keys at least 2048.
    #[error("a key of {bits} bits is too weak, at least {floor} are needed")]
    TooWeak {
        /// Bits the key has; 0 when the module refused it before counting.
        bits: usize,
        /// Bits it would have to have.
        floor: usize,
    },
    /// A raw key of the wrong length (bytes).
    #[error("a key of this algorithm has {expected} bytes, this one has {actual}")]
    Length {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// Not the encoding that keys of this algorithm have (see `Material`).
    #[error("the key is not encoded as keys of this algorithm are")]
    Malformed,
    /// A well-formed key of another algorithm or size.
    #[error("the key belongs to another algorithm or size")]
    OtherAlgorithm,
    /// Its parts contradict each other, for example a private key and a public key that do not belong together.
    #[error("the parts of the key do not belong together")]
    Inconsistent,
}

/// A wire name or code that is not in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind}")]
pub struct UnknownName {
    /// What was being parsed, for example "key algorithm".
    pub kind: &'static str,
}

/// What aws-lc-rs says when an operation fails that has no business failing.
pub(crate) fn module(_: aws_lc_rs::error::Unspecified) -> CryptoError {
    CryptoError::Module
}
