//! Envelope encryption: data keys handed out wrapped, with or without the plain key, and unwrapped on request.

use keyreeve_crypto::Purpose;
use keyreeve_model::ciphertext::Kind;
use keyreeve_model::{EncryptionContext, Usage};
use keyreeve_secret::SecretBytes;
use std::sync::Arc;

use super::cipher::{Opener, Sealer};
use super::usable::{Usable, Want, count_messages, usable, with_key};
use super::{Each, lone};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::keys::KeyRef;
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// Sizes a data key may have (bytes): no symmetric key below 256 bits.
pub const DATA_KEY_SIZES: [usize; 2] = [32, 64];

/// A fresh data key.
#[derive(Debug)]
pub struct DataKey {
    /// The key itself, unless it was asked for wrapped only.
    pub plaintext: Option<SecretBytes>,
    /// The key wrapped: `KR1`, kind data key, key-committing.
    pub wrapped: Vec<u8>,
}

/// Fresh data keys.
#[derive(Debug)]
pub struct DataKeys {
    /// The version that wrapped.
    pub version: u32,
    /// As many as were asked for.
    pub items: Vec<DataKey>,
}

impl Remember for DataKeys {}

/// What both forms of generating share.
#[derive(Debug)]
pub struct NewDataKeys {
    /// The key that wraps.
    pub key: KeyRef,
    /// Bound to the wrapped keys.
    pub context: EncryptionContext,
    /// 32 or 64 bytes.
    pub bytes: usize,
    /// How many.
    pub count: usize,
}

/// Makes data keys and returns them in plain and wrapped.
#[derive(Debug)]
pub struct GenerateDataKey(pub NewDataKeys);

/// Makes data keys and returns them wrapped only.
#[derive(Debug)]
pub struct GenerateDataKeyWithoutPlaintext(pub NewDataKeys);

macro_rules! generating {
    ($operation:ident, $descriptor:ident, $plaintext:literal) => {
        impl Operation for $operation {
            const DESCRIPTOR: &'static Descriptor = &catalogue::$descriptor;
            type Reply = DataKeys;

            fn target(&self) -> Target<'_> {
                Target::Key(&self.0.key)
            }

            fn context(&self) -> Option<&EncryptionContext> {
                Some(&self.0.context)
            }

            fn items(&self) -> usize {
                self.0.count
            }

            async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<DataKeys>, Error> {
                generate(approved, core, &self.0, $plaintext).await
            }
        }
    };
}

generating!(GenerateDataKey, KEY_GENERATE_DATA_KEY, true);
generating!(GenerateDataKeyWithoutPlaintext, KEY_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, false);

async fn generate<O: Operation>(
    approved: &Approved<O>,
    core: &Core,
    wanted: &NewDataKeys,
    plaintext: bool,
) -> Result<Outcome<DataKeys>, Error> {
    core.check_batch(wanted.count)?;
    if !DATA_KEY_SIZES.contains(&wanted.bytes) {
        return Err(Error::invalid("a data key has 32 or 64 bytes"));
    }
    let (key, now) = (approved.key()?, approved.now());
    let opened = core.need_open()?;
    let want = Want { purpose: Purpose::Encrypt, usage: Usage::Apply };
    let Usable { version, loaded } = usable(core, key, want, None, now).await?;
    if key.record.algorithm().is_asymmetric() {
        return Err(Error::new(crate::Code::WrongKeyUse, "data keys are wrapped by symmetric keys: use an AES key"));
    }
    let reserved = count_messages(core, &opened, key, wanted.count as u64, now)?;
    let sealer = Sealer::new(core, key, version, Arc::clone(&loaded), Kind::DataKey, &wanted.context);
    let (bytes, count, random) = (wanted.bytes, wanted.count, Arc::clone(&core.ports.random));
    let fresh = move || -> Result<DataKey, Error> {
        let data_key = random.secret_bytes(bytes)?;
        let wrapped = sealer.seal(data_key.expose())?;
        Ok(DataKey { plaintext: plaintext.then_some(data_key), wrapped })
    };
    let all = move || (0..count).map(|_| fresh()).collect::<Result<_, Error>>();
    let items = with_key(core, &loaded, (count, count * bytes), all).await??;
    let outcome = Outcome::reply(DataKeys { version, items }).version(version);
    Ok(match reserved {
        Some((change, effect)) => outcome.changing(change).then(effect),
        None => outcome,
    })
}

/// Unwraps data keys; all must be wrapped by this key and bound to the same context.
#[derive(Debug)]
pub struct UnwrapDataKey {
    /// The key that wrapped.
    pub key: KeyRef,
    /// What was bound to them.
    pub context: EncryptionContext,
    /// The wrapped keys.
    pub items: Arc<[Vec<u8>]>,
}

/// Unwrapped data keys.
#[derive(Debug)]
pub struct Unwrapped {
    /// In the caller's order, each with the version that had wrapped it.
    pub items: Each<(u32, SecretBytes)>,
}

impl Remember for Unwrapped {}

impl Operation for UnwrapDataKey {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_UNWRAP_DATA_KEY;
    type Reply = Unwrapped;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Unwrapped>, Error> {
        core.check_batch(self.items.len())?;
        let opener = Opener::new(core, approved.key()?, approved.now());
        let items = lone(opener.open_all(Kind::DataKey, &self.context, &self.items).await?)?;
        Ok(Outcome::reply(Unwrapped { items }).failures(|reply| &reply.items))
    }
}
