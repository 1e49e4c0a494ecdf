//! Secrets that a key gives: derivation, key wrapping, encapsulation, agreement; and random bytes.

use keyreeve_crypto::{DeriveParams, HashAlgorithm, LoadedKey, PublicKey, Purpose, WrapMode};
use keyreeve_model::Usage;
use keyreeve_secret::SecretBytes;
use std::sync::Arc;

use super::usable::{Usable, Want, usable};
use super::{Each, Payload, lone};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::keys::KeyRef;
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// The most bytes one request may derive (bytes).
pub const DERIVE_MAX: usize = 1024;
/// The least bytes one request may derive (bytes): derived keys keep the floor of 256 bits.
pub const DERIVE_MIN: usize = 32;
/// The most random bytes of one request (bytes).
pub const RANDOM_MAX: usize = 64 * 1024;

/// A secret with the key version it comes from.
#[derive(Debug)]
pub struct Secret {
    /// The version.
    pub version: u32,
    /// The secret.
    pub secret: SecretBytes,
}

impl Remember for Secret {}

/// How to derive.
#[derive(Debug)]
pub enum Derivation {
    /// HKDF (RFC 5869).
    Hkdf {
        /// The hash.
        hash: HashAlgorithm,
        /// Salt, not secret; may be empty.
        salt: Vec<u8>,
        /// Binds the output to its use.
        info: Vec<u8>,
    },
    /// SP 800-108 rev. 1 in counter mode with HMAC.
    Kbkdf {
        /// The hash of the HMAC.
        hash: HashAlgorithm,
        /// Names the use.
        label: Vec<u8>,
        /// Binds the output to its parties.
        context: Vec<u8>,
    },
}

/// Derives a key and returns it.
#[derive(Debug)]
pub struct Derive {
    /// The key-derivation key.
    pub key: KeyRef,
    /// Its version; the primary one unless said.
    pub version: Option<u32>,
    /// How.
    pub derivation: Derivation,
    /// 32 to 1,024 bytes.
    pub bytes: usize,
}

impl Operation for Derive {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_DERIVE;
    type Reply = Secret;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Secret>, Error> {
        if !(DERIVE_MIN..=DERIVE_MAX).contains(&self.bytes) {
            return Err(Error::invalid("a derived key has 32 to 1,024 bytes"));
        }
        // Deriving anew from an older version is how its data is read, so only the primary version counts as
        // protecting.
        let usage = if self.version.is_some() { Usage::Process } else { Usage::Apply };
        let want = Want { purpose: Purpose::Derive, usage };
        let Usable { version, loaded } = usable(core, approved.key()?, want, self.version, approved.now()).await?;
        let params = match &self.derivation {
            Derivation::Hkdf { hash, salt, info } => DeriveParams::Hkdf { hash: *hash, salt, info },
            Derivation::Kbkdf { hash, label, context } => DeriveParams::Kbkdf108Counter { hash: *hash, label, context },
        };
        let secret = loaded.derive(params, self.bytes)?;
        Ok(Outcome::reply(Secret { version, secret }).version(version).detail("bytes", self.bytes))
    }
}

/// Wraps callers' keys (SP 800-38F).
#[derive(Debug)]
pub struct Wrap {
    /// The wrapping key.
    pub key: KeyRef,
    /// With or without padding.
    pub mode: WrapMode,
    /// The keys to wrap.
    pub items: Arc<[Payload]>,
}

/// Wrapped keys.
#[derive(Debug)]
pub struct Wrapped {
    /// The version that wrapped.
    pub version: u32,
    /// In the caller's order.
    pub items: Each<Vec<u8>>,
}

impl Remember for Wrapped {}

impl Operation for Wrap {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_WRAP;
    type Reply = Wrapped;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Wrapped>, Error> {
        core.check_batch(self.items.len())?;
        let want = Want { purpose: Purpose::Wrap, usage: Usage::Apply };
        let Usable { version, loaded } = usable(core, approved.key()?, want, None, approved.now()).await?;
        let items = self.items.iter().map(|item| Ok(loaded.wrap_key(self.mode, item.expose())?)).collect();
        let reply = Wrapped { version, items: lone(items)? };
        Ok(Outcome::reply(reply).version(version).failures(|reply| &reply.items))
    }
}

/// Unwraps callers' keys.
#[derive(Debug)]
pub struct Unwrap {
    /// The wrapping key.
    pub key: KeyRef,
    /// The version that wrapped; the primary one unless said.
    pub version: Option<u32>,
    /// As when wrapping.
    pub mode: WrapMode,
    /// The wrapped keys.
    pub items: Arc<[Vec<u8>]>,
}

/// Secrets with the key version they come from.
#[derive(Debug)]
pub struct Secrets {
    /// The version.
    pub version: u32,
    /// In the caller's order.
    pub items: Each<SecretBytes>,
}

impl Remember for Secrets {}

impl Operation for Unwrap {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_UNWRAP;
    type Reply = Secrets;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Secrets>, Error> {
        core.check_batch(self.items.len())?;
        let want = Want { purpose: Purpose::Wrap, usage: Usage::Process };
        let Usable { version, loaded } = usable(core, approved.key()?, want, self.version, approved.now()).await?;
        let items = self.items.iter().map(|item| Ok(loaded.unwrap_key(self.mode, item)?)).collect();
        let reply = Secrets { version, items: lone(items)? };
        Ok(Outcome::reply(reply).version(version).failures(|reply| &reply.items))
    }
}

/// Makes a shared secret and encapsulates it to the key (FIPS 203).
#[derive(Debug)]
pub struct Encapsulate {
    /// The key.
    pub key: KeyRef,
}

/// A shared secret and its encapsulation.
#[derive(Debug)]
pub struct Encapsulated {
    /// The version it is encapsulated to.
    pub version: u32,
    /// For the owner of the key.
    pub ciphertext: Vec<u8>,
    /// 32 bytes, uniform.
    pub secret: SecretBytes,
}

impl Remember for Encapsulated {}

impl Operation for Encapsulate {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_ENCAPSULATE;
    type Reply = Encapsulated;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Encapsulated>, Error> {
        let want = Want { purpose: Purpose::Encapsulate, usage: Usage::Apply };
        let Usable { version, loaded } = usable(core, approved.key()?, want, None, approved.now()).await?;
        let (ciphertext, secret) = loaded.encapsulate(&core.ports.random)?;
        Ok(Outcome::reply(Encapsulated { version, ciphertext, secret }).version(version))
    }
}

/// Recovers an encapsulated shared secret.
#[derive(Debug)]
pub struct Decapsulate {
    /// The key.
    pub key: KeyRef,
    /// The version it was encapsulated to; the primary one unless said.
    pub version: Option<u32>,
    /// What the other side sent.
    pub ciphertext: Vec<u8>,
}

impl Operation for Decapsulate {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_DECAPSULATE;
    type Reply = Secret;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Secret>, Error> {
        let want = Want { purpose: Purpose::Encapsulate, usage: Usage::Process };
        let Usable { version, loaded } = usable(core, approved.key()?, want, self.version, approved.now()).await?;
        let secret = loaded.decapsulate(&self.ciphertext)?;
        Ok(Outcome::reply(Secret { version, secret }).version(version))
    }
}

/// Agrees a shared secret with a peer's public key (SP 800-56A rev. 3 §5.7.1.2, RFC 7748). The raw secret is not
/// uniform, so it leaves only through HKDF.
#[derive(Debug)]
pub struct Agree {
    /// The key.
    pub key: KeyRef,
    /// Its version; the primary one unless said.
    pub version: Option<u32>,
    /// The peer's SubjectPublicKeyInfo, DER.
    pub peer: Vec<u8>,
    /// The hash of HKDF.
    pub hash: HashAlgorithm,
    /// Salt of HKDF, not secret; may be empty.
    pub salt: Vec<u8>,
    /// Binds the output to its use.
    pub info: Vec<u8>,
    /// 32 to 1,024 bytes.
    pub bytes: usize,
}

impl Operation for Agree {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_AGREE;
    type Reply = Secret;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Secret>, Error> {
        if !(DERIVE_MIN..=DERIVE_MAX).contains(&self.bytes) {
            return Err(Error::invalid("an agreed key has 32 to 1,024 bytes"));
        }
        let usage = if self.version.is_some() { Usage::Process } else { Usage::Apply };
        let want = Want { purpose: Purpose::Agree, usage };
        let Usable { version, loaded } = usable(core, approved.key()?, want, self.version, approved.now()).await?;
        let secret = self.agree(&loaded)?;
        Ok(Outcome::reply(Secret { version, secret }).version(version).detail("bytes", self.bytes))
    }
}

impl Agree {
    fn agree(&self, loaded: &LoadedKey) -> Result<SecretBytes, Error> {
        let peer = PublicKey::from_spki(loaded.algorithm(), &self.peer)?;
        let shared = loaded.agree(&peer)?;
        Ok(keyreeve_crypto::kdf::hkdf(self.hash, shared.expose(), &self.salt, &self.info, self.bytes)?)
    }
}

/// Returns random bytes.
#[derive(Debug)]
pub struct GenerateRandom {
    /// 1 to 65,536 bytes.
    pub bytes: usize,
}

/// Random bytes.
#[derive(Debug)]
pub struct RandomBytes(pub SecretBytes);

impl Remember for RandomBytes {}

impl Operation for GenerateRandom {
    const DESCRIPTOR: &'static Descriptor = &catalogue::RANDOM_GENERATE;
    type Reply = RandomBytes;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<RandomBytes>, Error> {
        if !(1..=RANDOM_MAX).contains(&self.bytes) {
            return Err(Error::invalid("random: 1 to 65,536 bytes"));
        }
        let bytes = core.ports.random.secret_bytes(self.bytes)?;
        Ok(Outcome::reply(RandomBytes(bytes)).detail("bytes", self.bytes))
    }
}
