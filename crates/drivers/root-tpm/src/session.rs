//! Salted sessions (part 1, 19): both sides prove to each other, with every command, that they know a key which nobody
//! on the way between them does, and what is secret goes encrypted under it.
//!
//! Parameters are encrypted with the `XOR` mode (part 1, 21.2): a mask from the session's key and both nonces, by
//! HMAC-SHA-256, which every TPM has. So no key of the way is shorter than 256 bits, as it would be with the AES-128
//! that many a TPM offers.

use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::kdf::kbkdf108_counter;
use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::mac::MacKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::public::PublicKey;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, Purpose};
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmRh, TpmSe, TpmaSession};

use crate::bench::Trouble;
use crate::commands::{Auth, Entity, Parent, Tpm};
use crate::wire::{put_sized, take_sized};

const NONCE: usize = 32;

/// A session that is open in the TPM.
pub(crate) struct Session {
    pub(crate) handle: u32,
    key: SecretArray<32>,
    from_us: [u8; NONCE],
    from_tpm: Vec<u8>,
}

/// What a command's session does besides authorising it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hides {
    /// Nothing is secret.
    Nothing,
    /// The first parameter of the command.
    Command,
    /// The first parameter of the response.
    Response,
}

impl Hides {
    fn attributes(self, ends: bool) -> u8 {
        let hidden = match self {
            Self::Nothing => 0,
            Self::Command => TpmaSession::DECRYPT.bits(),
            Self::Response => TpmaSession::ENCRYPT.bits(),
        };
        hidden | if ends { 0 } else { TpmaSession::CONTINUE_SESSION.bits() }
    }
}

impl Session {
    /// Opens a session whose key is agreed upon with `parent`, so that only the TPM that holds it learns it.
    pub(crate) fn start(tpm: &mut Tpm, random: &Random, parent: &Parent, kind: TpmSe) -> Result<Self, Trouble> {
        let (point, salt) = salt(random, &parent.point)?;
        let from_us = random.nonce_array::<NONCE>().map_err(Trouble::unexpected)?;
        let mut parameters = SecretBuffer::default();
        put_sized(&mut parameters, &from_us)?;
        put_sized(&mut parameters, &point)?;
        parameters.push(kind.value());
        // TPMT_SYM_DEF of the XOR mode (part 2, 11.1.6): it has no mode of its own.
        parameters.extend_from_slice(&TpmAlgId::Xor.value().to_be_bytes());
        parameters.extend_from_slice(&TpmAlgId::Sha256.value().to_be_bytes());
        parameters.extend_from_slice(&TpmAlgId::Sha256.value().to_be_bytes());
        let handles = [Entity::object(parent.handle, &parent.name), Entity::permanent(TpmRh::Null)];
        let response = tpm.command(TpmCc::StartAuthSession, &handles, Auth::None, parameters.finish())?;
        let handle = response.handle()?;
        let (from_tpm, _) = take_sized(response.parameters())?;
        let from_tpm = from_tpm.to_vec();
        if from_tpm.len() < 16 {
            return Err(Trouble::unexpected("a nonce of the TPM is too short"));
        }
        let key = kdf_a(salt.expose(), b"ATH", &from_tpm, &from_us, 32)?;
        Ok(Self { handle, key: key.to_array().map_err(Trouble::unexpected)?, from_us, from_tpm })
    }

    /// The authorisation of a command, whose first parameter is encrypted if it is to be.
    pub(crate) fn authorise(
        &mut self,
        random: &Random,
        (command, names): (TpmCc, &[u8]),
        parameters: &mut SecretBytes,
        (hides, ends): (Hides, bool),
    ) -> Result<SecretBytes, Trouble> {
        self.from_us = random.nonce_array().map_err(Trouble::unexpected)?;
        if hides == Hides::Command {
            self.mask(parameters, &self.from_us, &self.from_tpm)?;
        }
        let mut input = SecretBuffer::default();
        input.extend_from_slice(&command.value().to_be_bytes());
        input.extend_from_slice(names);
        input.extend_from_slice(parameters.expose());
        let attributes = hides.attributes(ends);
        let signed = [&sha256(input.expose()), &self.from_us, &self.from_tpm[..], &[attributes]].concat();
        let mut out = SecretBuffer::default();
        out.extend_from_slice(&self.handle.to_be_bytes());
        put_sized(&mut out, &self.from_us)?;
        out.push(attributes);
        put_sized(&mut out, &self.mac().mac(&signed))?;
        Ok(out.finish())
    }

    /// Checks that the response is the TPM's own, and opens its first parameter if it is encrypted.
    pub(crate) fn verify(
        &mut self,
        command: TpmCc,
        parameters: &mut SecretBytes,
        area: &[u8],
        hides: Hides,
    ) -> Result<(), Trouble> {
        let (from_tpm, rest) = take_sized(area)?;
        let (&attributes, rest) = rest.split_first().ok_or_else(Trouble::cut_short)?;
        let (tag, _) = take_sized(rest)?;
        let mut input = SecretBuffer::default();
        input.extend_from_slice(&0u32.to_be_bytes());
        input.extend_from_slice(&command.value().to_be_bytes());
        input.extend_from_slice(parameters.expose());
        let signed = [&sha256(input.expose()), from_tpm, &self.from_us[..], &[attributes]].concat();
        self.mac().verify(&signed, tag).map_err(|_| Trouble::Impostor)?;
        self.from_tpm = from_tpm.to_vec();
        if hides == Hides::Response {
            self.mask(parameters, &self.from_tpm, &self.from_us)?;
        }
        Ok(())
    }

    fn mac(&self) -> MacKey {
        MacKey::new(HashAlgorithm::Sha256, self.key.expose())
    }

    /// Adds the mask to the first parameter, or takes it away. Who speaks has the newer nonce.
    fn mask(&self, parameters: &mut SecretBytes, newer: &[u8], older: &[u8]) -> Result<(), Trouble> {
        let len = take_sized(parameters.expose())?.0.len();
        if len == 0 {
            return Ok(());
        }
        let mask = kdf_a(self.key.expose(), b"XOR", newer, older, len)?;
        let hidden = &mut parameters.expose_mut()[2..2 + len];
        for (byte, mask) in hidden.iter_mut().zip(mask.expose()) {
            *byte ^= mask;
        }
        Ok(())
    }
}

/// A secret that the TPM with the private half of `theirs` works out from the point that is returned with it (part 1,
/// annex C.6.1).
fn salt(random: &Random, theirs: &PublicKey) -> Result<(Vec<u8>, SecretArray<32>), Trouble> {
    let ephemeral = Material::generate(KeyAlgorithm::EcP256, random).map_err(Trouble::unexpected)?;
    let ours = ephemeral.public_key().map_err(Trouble::unexpected)?;
    let ours = ours.as_ref().and_then(coordinates).ok_or_else(|| Trouble::unexpected("no public key"))?;
    let their_x = coordinates(theirs).ok_or_else(|| Trouble::unexpected("no public key"))?.0;
    let shared = LoadedKey::load(&ephemeral, Purpose::Agree).and_then(|key| key.agree(theirs));
    let shared = shared.map_err(Trouble::unexpected)?;
    // KDFe (part 1, 11.4.10.3) gives 256 bits in one step.
    let mut input = SecretBuffer::default();
    for part in [&1u32.to_be_bytes()[..], shared.expose(), b"SECRET\0", ours.0, their_x] {
        input.extend_from_slice(part);
    }
    let salt = SecretArray::init_with(|out| out.copy_from_slice(&sha256(input.expose())));
    let mut point = SecretBuffer::default();
    put_sized(&mut point, ours.0)?;
    put_sized(&mut point, ours.1)?;
    Ok((point.expose().to_vec(), salt))
}

/// Both coordinates of a point on P-256.
pub(crate) fn coordinates(key: &PublicKey) -> Option<(&[u8], &[u8])> {
    let point = key.raw()?.strip_prefix(&[4])?;
    (point.len() == 64).then(|| point.split_at(32))
}

/// KDFa (part 1, 11.4.10.2), which is the counter mode of SP 800-108 with both parties' values as context.
fn kdf_a(key: &[u8], label: &[u8], one: &[u8], other: &[u8], len: usize) -> Result<SecretBytes, Trouble> {
    kbkdf108_counter(HashAlgorithm::Sha256, key, label, &[one, other].concat(), len).map_err(Trouble::unexpected)
}
