//! The commands of the TPM that are needed, one function each (part 3).

use std::time::Duration;

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_crypto::public::PublicKey;
use keyreeve_crypto::random::Random;
use keyreeve_secret::{SecretBuffer, SecretBytes};
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::{TpmUint16, TpmUint32};
use tpm2_protocol::data::{
    Tpm2bPrivate, Tpm2bPublic, TpmAlgId, TpmCap, TpmCc, TpmEccCurve, TpmRc, TpmRcBase, TpmRh, TpmSe, TpmSt, TpmaNv,
    TpmaObject, TpmlDigest, TpmlPcrSelection, TpmsCapabilityData, TpmsEccParms, TpmsEccPoint, TpmsKeyedhashParms,
    TpmsNvPublic, TpmtPublic, TpmtSignature, TpmtSymDefObject, TpmtTkVerified, TpmuCapabilities, TpmuPublicId,
    TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
};

use crate::bench::Trouble;
use crate::session::{Hides, Session};
use crate::transport::{Connection, Device};
use crate::wire::{Digest, bytes_of, name_of, put, put_sized, take_sized, whole};

/// How often a TPM may say that it is busy with itself, and how long it is left alone then.
const RETRIES: usize = 50;
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// What a command acts on: its handle, and what it is called where commands are signed.
pub(crate) struct Entity {
    handle: u32,
    name: Vec<u8>,
}

impl Entity {
    pub(crate) fn object(handle: u32, name: &[u8]) -> Self {
        Self { handle, name: name.to_vec() }
    }

    pub(crate) fn permanent(handle: TpmRh) -> Self {
        Self::session(handle.value())
    }

    /// What is no object and no NV index is called by its handle.
    pub(crate) fn session(handle: u32) -> Self {
        Self { handle, name: handle.to_be_bytes().to_vec() }
    }
}

/// How a command is authorised.
pub(crate) enum Auth<'a> {
    /// It needs none.
    None,
    /// With the empty password.
    Empty,
    /// By a session, which ends with this command if the flag is set.
    Session(&'a mut Session, Hides, bool),
}

/// What came back.
pub(crate) struct Response {
    handle: Option<u32>,
    parameters: SecretBytes,
}

impl Response {
    pub(crate) fn handle(&self) -> Result<u32, Trouble> {
        self.handle.ok_or_else(Trouble::cut_short)
    }

    pub(crate) fn parameters(&self) -> &[u8] {
        self.parameters.expose()
    }
}

/// The key under which the root key is sealed, and to which sessions are salted. It is made from the seed of the
/// owner's hierarchy each time, always the same one, until somebody clears the TPM.
pub(crate) struct Parent {
    pub(crate) handle: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) point: PublicKey,
}

/// A sealed object as it lies outside of the TPM.
#[derive(Clone)]
pub(crate) struct Blob {
    /// A `TPM2B_PUBLIC`.
    pub(crate) public: Vec<u8>,
    /// The content of a `TPM2B_PRIVATE`.
    pub(crate) private: Vec<u8>,
}

/// A connection to a TPM.
pub(crate) struct Tpm {
    connection: Connection,
    random: Random,
}

impl Tpm {
    /// Connects. Where nobody keeps users of the TPM apart, what is left of others is flushed: of processes that were
    /// killed, mostly, and a TPM has room for three objects.
    pub(crate) fn open(device: &Device, random: &Random, limit: Duration) -> Result<Self, Trouble> {
        let mut tpm = Self { connection: device.connect(limit)?, random: random.clone() };
        if !device.is_managed() {
            for range in [0x8000_0000, 0x0200_0000] {
                for handle in tpm.handles(range)? {
                    tpm.flush(handle)?;
                }
            }
        }
        Ok(tpm)
    }

    /// Sends one command, again while the TPM asks for it.
    pub(crate) fn command(
        &mut self,
        code: TpmCc,
        handles: &[Entity],
        mut auth: Auth<'_>,
        mut parameters: SecretBytes,
    ) -> Result<Response, Trouble> {
        let names: Vec<u8> = handles.iter().flat_map(|one| one.name.iter().copied()).collect();
        let area = match &mut auth {
            Auth::None => None,
            Auth::Empty => Some(empty_password()),
            Auth::Session(session, hides, ends) => {
                Some(session.authorise(&self.random, (code, &names), &mut parameters, (*hides, *ends))?)
            }
        };
        let frame = frame(code, handles, area.as_ref(), &parameters)?;
        let response = self.until_ready(code, frame.expose())?;
        let response = response.expose();
        let (handle, rest) = if gives_handle(code) {
            let (handle, rest) = response.split_first_chunk::<4>().ok_or_else(Trouble::cut_short)?;
            (Some(u32::from_be_bytes(*handle)), rest)
        } else {
            (None, response)
        };
        if matches!(auth, Auth::None) {
            return Ok(Response { handle, parameters: SecretBytes::copy_from(rest) });
        }
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(Trouble::cut_short)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(Trouble::unexpected)?;
        let (parameters, area) = rest.split_at_checked(len).ok_or_else(Trouble::cut_short)?;
        let mut parameters = SecretBytes::copy_from(parameters);
        if let Auth::Session(session, hides, _) = auth {
            session.verify(code, &mut parameters, area, hides)?;
        }
        Ok(Response { handle, parameters })
    }

    /// What follows the header of a response that tells of success.
    #[expect(clippy::disallowed_methods, reason = "this thread may block, and a busy TPM tells nobody when it is done")]
    fn until_ready(&mut self, code: TpmCc, frame: &[u8]) -> Result<SecretBytes, Trouble> {
        for _ in 0..RETRIES {
            let response = self.connection.transmit(frame)?;
            let (header, body) = response.expose().split_first_chunk::<10>().ok_or_else(Trouble::cut_short)?;
            let [_, _, s0, s1, s2, s3, r0, r1, r2, r3] = *header;
            if u32::from_be_bytes([s0, s1, s2, s3]) as usize != response.len() {
                return Err(Trouble::cut_short());
            }
            let said = u32::from_be_bytes([r0, r1, r2, r3]);
            match TpmRc::try_from(said).map(|rc| rc.base()) {
                Ok(TpmRcBase::Success) => return Ok(SecretBytes::copy_from(body)),
                Ok(TpmRcBase::Retry | TpmRcBase::Yielded | TpmRcBase::Testing) => std::thread::sleep(RETRY_AFTER),
                Ok(base) => return Err(Trouble::Refused(code, base)),
                Err(_) => return Err(Trouble::Silent(format!("the TPM answered {said:#x} to {code}"))),
            }
        }
        Err(Trouble::Silent(format!("the TPM stays busy, {code} was not done")))
    }

    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), Trouble> {
        let parameters = SecretBytes::copy_from(&handle.to_be_bytes());
        self.command(TpmCc::FlushContext, &[], Auth::None, parameters).map(drop)
    }

    /// What is loaded, of the kind that the first byte says.
    fn handles(&mut self, range: u32) -> Result<Vec<u32>, Trouble> {
        let mut parameters = SecretBuffer::default();
        for value in [TpmCap::Handles.value(), range, 64] {
            parameters.extend_from_slice(&value.to_be_bytes());
        }
        let response = self.command(TpmCc::GetCapability, &[], Auth::None, parameters.finish())?;
        let (_more, rest) = response.parameters().split_first().ok_or_else(Trouble::cut_short)?;
        match whole::<TpmsCapabilityData>(rest)?.data {
            TpmuCapabilities::Handles(list) => Ok(list.iter().map(|handle| handle.value()).collect()),
            _ => Err(Trouble::unexpected("another capability than was asked for")),
        }
    }

    /// Makes the parent (`TPM2_CreatePrimary`), in the owner's hierarchy with its empty password.
    pub(crate) fn parent(&mut self) -> Result<Parent, Trouble> {
        let mut parameters = SecretBuffer::default();
        // An empty TPM2B_SENSITIVE_CREATE: no password, no data.
        for field in [4u16, 0, 0] {
            parameters.extend_from_slice(&field.to_be_bytes());
        }
        put(&mut parameters, &Tpm2bPublic { inner: parent_template() })?;
        no_creation_facts(&mut parameters);
        let owner = [Entity::permanent(TpmRh::Owner)];
        let response = self.command(TpmCc::CreatePrimary, &owner, Auth::Empty, parameters.finish());
        let response = response.map_err(|trouble| match trouble {
            Trouble::Refused(_, TpmRcBase::BadAuth | TpmRcBase::AuthFail | TpmRcBase::AuthMissing) => {
                Trouble::OwnerAuth
            }
            Trouble::Refused(_, TpmRcBase::KeySize | TpmRcBase::Symmetric | TpmRcBase::Value | TpmRcBase::Mode) => {
                Trouble::Unable("keep keys under AES-256 and P-256")
            }
            other => other,
        })?;
        let handle = response.handle()?;
        let (public, _) = take_sized(response.parameters())?;
        let made: TpmtPublic = whole(public)?;
        let template = parent_template();
        if (made.object_attributes, &made.parameters) != (template.object_attributes, &template.parameters) {
            return Err(Trouble::unexpected("the parent is not what was asked for"));
        }
        let TpmuPublicId::Ecc(point) = made.unique else { return Err(Trouble::unexpected("the parent has no point")) };
        let point = PublicKey::from_raw(KeyAlgorithm::EcP256, &uncompressed(&point)).map_err(Trouble::unexpected)?;
        Ok(Parent { handle, name: name_of(public), point })
    }

    /// Seals a secret under `policy` (`TPM2_Create`). On the way to the TPM it is encrypted.
    pub(crate) fn seal(
        &mut self,
        parent: &Parent,
        session: &mut Session,
        secret: &[u8],
        policy: &Digest,
    ) -> Result<Blob, Trouble> {
        let mut sensitive = SecretBuffer::default();
        put_sized(&mut sensitive, &[])?;
        put_sized(&mut sensitive, secret)?;
        let mut parameters = SecretBuffer::default();
        put_sized(&mut parameters, sensitive.expose())?;
        put(&mut parameters, &Tpm2bPublic { inner: sealed_template(policy)? })?;
        no_creation_facts(&mut parameters);
        let handles = [Entity::object(parent.handle, &parent.name)];
        let auth = Auth::Session(session, Hides::Command, true);
        let response = self.command(TpmCc::Create, &handles, auth, parameters.finish())?;
        let (private, rest) = take_sized(response.parameters())?;
        let (public, _) = take_sized(rest)?;
        let mut sized = SecretBuffer::default();
        put_sized(&mut sized, public)?;
        Ok(Blob { public: sized.expose().to_vec(), private: private.to_vec() })
    }

    /// Loads what was sealed under this parent (`TPM2_Load`); its handle and name.
    pub(crate) fn load(&mut self, parent: &Parent, blob: &Blob) -> Result<(u32, Vec<u8>), Trouble> {
        let public: Tpm2bPublic = whole(&blob.public)?;
        let mut parameters = SecretBuffer::default();
        put(&mut parameters, &Tpm2bPrivate::try_from(&blob.private[..]).map_err(Trouble::unexpected)?)?;
        put(&mut parameters, &public)?;
        let handles = [Entity::object(parent.handle, &parent.name)];
        let response = self.command(TpmCc::Load, &handles, Auth::Empty, parameters.finish());
        let response = response.map_err(|trouble| match trouble {
            Trouble::Refused(_, TpmRcBase::Integrity) => Trouble::OtherTpm,
            other => other,
        })?;
        Ok((response.handle()?, name_of(&bytes_of(&public.inner)?)))
    }

    /// What was sealed (`TPM2_Unseal`), by a policy session that has been through its policy and ends here. On the way
    /// from the TPM it is encrypted.
    pub(crate) fn unseal(&mut self, object: &(u32, Vec<u8>), mut session: Session) -> Result<SecretBytes, Trouble> {
        let handles = [Entity::object(object.0, &object.1)];
        let auth = Auth::Session(&mut session, Hides::Response, true);
        let response = self.command(TpmCc::Unseal, &handles, auth, SecretBytes::copy_from(&[]))?;
        Ok(SecretBytes::copy_from(take_sized(response.parameters())?.0))
    }

    /// Has the TPM verify a signature of the policy key (`TPM2_LoadExternal`, `TPM2_VerifySignature`); the ticket says
    /// so to the TPM itself.
    pub(crate) fn verified(
        &mut self,
        key: TpmtPublic,
        digest: &Digest,
        signature: &TpmtSignature,
    ) -> Result<TpmtTkVerified, Trouble> {
        let name = name_of(&bytes_of(&key)?);
        let mut parameters = SecretBuffer::default();
        // No private half.
        put_sized(&mut parameters, &[])?;
        put(&mut parameters, &Tpm2bPublic { inner: key })?;
        // A ticket of the null hierarchy would not be taken.
        parameters.extend_from_slice(&TpmRh::Owner.value().to_be_bytes());
        let loaded = self.command(TpmCc::LoadExternal, &[], Auth::None, parameters.finish())?.handle()?;
        let mut parameters = SecretBuffer::default();
        put_sized(&mut parameters, digest)?;
        put(&mut parameters, signature)?;
        let handles = [Entity::object(loaded, &name)];
        let verified = self.command(TpmCc::VerifySignature, &handles, Auth::None, parameters.finish());
        self.flush(loaded)?;
        whole(verified?.parameters())
    }

    /// Takes the present PCRs into a policy session (`TPM2_PolicyPCR`).
    pub(crate) fn policy_pcr(&mut self, session: &Session, pcrs: &TpmlPcrSelection) -> Result<(), Trouble> {
        let mut parameters = SecretBuffer::default();
        put_sized(&mut parameters, &[])?;
        put(&mut parameters, pcrs)?;
        let handles = [Entity::session(session.handle)];
        self.command(TpmCc::PolicyPcr, &handles, Auth::None, parameters.finish()).map(drop)
    }

    /// Puts the policy of "what the key approved" in the place of the one that it did approve (`TPM2_PolicyAuthorize`).
    pub(crate) fn policy_authorize(
        &mut self,
        session: &Session,
        approved: &Digest,
        policy_ref: &[u8],
        key: &[u8],
        ticket: &TpmtTkVerified,
    ) -> Result<(), Trouble> {
        let mut parameters = SecretBuffer::default();
        for part in [&approved[..], policy_ref, key] {
            put_sized(&mut parameters, part)?;
        }
        put(&mut parameters, ticket)?;
        let handles = [Entity::session(session.handle)];
        self.command(TpmCc::PolicyAuthorize, &handles, Auth::None, parameters.finish()).map(drop)
    }

    /// Reads PCRs (`TPM2_PCR_Read`): which of them were read, and their values. A TPM reads a few at a time.
    pub(crate) fn pcr_read(&mut self, pcrs: &TpmlPcrSelection) -> Result<(TpmlPcrSelection, Vec<Vec<u8>>), Trouble> {
        let mut parameters = SecretBuffer::default();
        put(&mut parameters, pcrs)?;
        let response = self.command(TpmCc::PcrRead, &[], Auth::None, parameters.finish())?;
        let (_counter, rest) = TpmUint32::unmarshal(response.parameters()).map_err(Trouble::unexpected)?;
        let (read, rest) = TpmlPcrSelection::unmarshal(rest).map_err(Trouble::unexpected)?;
        let values: TpmlDigest = whole(rest)?;
        Ok((read, values.iter().map(|value| value.to_vec()).collect()))
    }

    /// A session for commands (`TPM2_StartAuthSession`).
    pub(crate) fn session(&mut self, parent: &Parent, kind: TpmSe) -> Result<Session, Trouble> {
        let random = self.random.clone();
        Session::start(self, &random, parent, kind)
    }
}

fn gives_handle(code: TpmCc) -> bool {
    matches!(code, TpmCc::CreatePrimary | TpmCc::Load | TpmCc::LoadExternal | TpmCc::StartAuthSession)
}

/// The authorisation with the empty password (part 1, 19.4).
fn empty_password() -> SecretBytes {
    let mut out = SecretBuffer::default();
    out.extend_from_slice(&TpmRh::Pw.value().to_be_bytes());
    out.extend_from_slice(&[0, 0, 1, 0, 0]);
    out.finish()
}

fn frame(
    code: TpmCc,
    handles: &[Entity],
    area: Option<&SecretBytes>,
    parameters: &SecretBytes,
) -> Result<SecretBytes, Trouble> {
    let mut body = SecretBuffer::with_capacity(1024);
    for one in handles {
        body.extend_from_slice(&one.handle.to_be_bytes());
    }
    if let Some(area) = area {
        body.extend_from_slice(&u32::try_from(area.len()).map_err(Trouble::unexpected)?.to_be_bytes());
        body.extend_from_slice(area.expose());
    }
    body.extend_from_slice(parameters.expose());
    let tag = if area.is_some() { TpmSt::Sessions } else { TpmSt::NoSessions };
    let mut out = SecretBuffer::with_capacity(10 + body.len());
    out.extend_from_slice(&tag.value().to_be_bytes());
    out.extend_from_slice(&u32::try_from(10 + body.len()).map_err(Trouble::unexpected)?.to_be_bytes());
    out.extend_from_slice(&code.value().to_be_bytes());
    out.extend_from_slice(body.expose());
    Ok(out.finish())
}

/// Nothing is recorded about where an object was made.
fn no_creation_facts(parameters: &mut SecretBuffer) {
    parameters.extend_from_slice(&[0; 2]);
    parameters.extend_from_slice(&[0; 4]);
}

fn uncompressed(point: &TpmsEccPoint) -> Vec<u8> {
    let mut out = vec![4];
    for coordinate in [&point.x, &point.y] {
        // Leading zeros may be missing.
        out.extend(std::iter::repeat_n(0, 32usize.saturating_sub(coordinate.len())));
        out.extend_from_slice(coordinate);
    }
    out
}

fn parent_template() -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT,
        parameters: TpmuPublicParms::Ecc(TpmsEccParms {
            symmetric: TpmtSymDefObject {
                algorithm: TpmAlgId::Aes,
                key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(256)),
                mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
            },
            curve_id: TpmEccCurve::NistP256,
            ..TpmsEccParms::default()
        }),
        unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
        ..TpmtPublic::default()
    }
}

/// A counter without a password; `written` is what the TPM adds once it has counted.
fn counter_template(index: u32, written: TpmaNv) -> TpmsNvPublic {
    TpmsNvPublic {
        nv_index: TpmUint32::from(index),
        name_alg: TpmAlgId::Sha256,
        attributes: TpmaNv::COUNTER
            | TpmaNv::AUTHREAD
            | TpmaNv::AUTHWRITE
            | TpmaNv::OWNERREAD
            | TpmaNv::OWNERWRITE
            | TpmaNv::NO_DA
            | written,
        data_size: TpmUint16::from(8),
        ..TpmsNvPublic::default()
    }
}

/// Only its policy opens it: no password does, and no failure counts towards a lockout.
fn sealed_template(policy: &Digest) -> Result<TpmtPublic, Trouble> {
    Ok(TpmtPublic {
        object_type: TpmAlgId::KeyedHash,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::NO_DA,
        auth_policy: policy[..].try_into().map_err(Trouble::unexpected)?,
        parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms::default()),
        unique: TpmuPublicId::KeyedHash(Default::default()),
    })
}

/// Counters in the TPM's own memory.
impl Tpm {
    /// What our counter is called at present (`TPM2_NV_ReadPublic`); none if there is none. Whoever is `root` can put
    /// something else at the index, which holds what they like: that has another name, and is refused.
    pub(crate) fn nv_counter(&mut self, index: u32) -> Result<Option<Vec<u8>>, Trouble> {
        let handles = [Entity::session(index)];
        let public = match self.command(TpmCc::NvReadPublic, &handles, Auth::None, SecretBytes::copy_from(&[])) {
            Ok(response) => take_sized(response.parameters())?.0.to_vec(),
            Err(Trouble::Refused(_, TpmRcBase::Handle)) => return Ok(None),
            Err(other) => return Err(other),
        };
        for written in [TpmaNv::empty(), TpmaNv::WRITTEN] {
            if public == bytes_of(&counter_template(index, written))? {
                return Ok(Some(name_of(&public)));
            }
        }
        Err(Trouble::NotOurs(index))
    }

    /// Makes a counter (`TPM2_NV_DefineSpace`); what it is called until it has counted.
    pub(crate) fn nv_define_counter(&mut self, index: u32) -> Result<Vec<u8>, Trouble> {
        let public = bytes_of(&counter_template(index, TpmaNv::empty()))?;
        let mut parameters = SecretBuffer::default();
        put_sized(&mut parameters, &[])?;
        put_sized(&mut parameters, &public)?;
        let owner = [Entity::permanent(TpmRh::Owner)];
        self.command(TpmCc::NvDefineSpace, &owner, Auth::Empty, parameters.finish())?;
        Ok(name_of(&public))
    }

    /// Counts (`TPM2_NV_Increment`), and ends the session.
    pub(crate) fn nv_increment(&mut self, index: u32, name: &[u8], session: &mut Session) -> Result<(), Trouble> {
        let handles = [Entity::object(index, name), Entity::object(index, name)];
        let auth = Auth::Session(session, Hides::Nothing, true);
        self.command(TpmCc::NvIncrement, &handles, auth, SecretBytes::copy_from(&[])).map(drop)
    }

    /// The count (`TPM2_NV_Read`), signed by the TPM. Ends the session.
    pub(crate) fn nv_read_counter(&mut self, index: u32, name: &[u8], session: &mut Session) -> Result<u64, Trouble> {
        let handles = [Entity::object(index, name), Entity::object(index, name)];
        // Eight bytes from the beginning.
        let parameters = SecretBytes::copy_from(&[0, 8, 0, 0]);
        let response =
            self.command(TpmCc::NvRead, &handles, Auth::Session(session, Hides::Nothing, true), parameters)?;
        let count = take_sized(response.parameters())?.0.try_into().map_err(Trouble::unexpected)?;
        Ok(u64::from_be_bytes(count))
    }
}
