//! Putting parameters together and taking them apart, and the digests that TPM and caller both compute.

use keyreeve_crypto::digest::sha256;
use keyreeve_secret::{SecretBuffer, SecretBytes};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection};
use tpm2_protocol::{TpmMarshal, TpmSized, TpmUnmarshal, TpmWriter};

use crate::bench::Trouble;
use crate::pcrs::Bank;

/// A name or a policy digest under SHA-256, which is the hash function of all that we make in a TPM.
pub(crate) type Digest = [u8; 32];

/// What a TPM calls an object: its hash function and the digest of its public area (part 1, 16).
pub(crate) fn name_of(public: &[u8]) -> Vec<u8> {
    [&TpmAlgId::Sha256.value().to_be_bytes(), &sha256(public)[..]].concat()
}

/// Appends a structure as it travels.
pub(crate) fn put<T: TpmMarshal + TpmSized>(out: &mut SecretBuffer, value: &T) -> Result<(), Trouble> {
    let mut bytes = SecretBytes::init_with(TpmSized::len(value), |_| ());
    let mut writer = TpmWriter::new(bytes.expose_mut());
    value.marshal(&mut writer).map_err(Trouble::unexpected)?;
    out.extend_from_slice(bytes.expose());
    Ok(())
}

/// A structure as it travels.
pub(crate) fn bytes_of<T: TpmMarshal + TpmSized>(value: &T) -> Result<Vec<u8>, Trouble> {
    let mut bytes = vec![0; TpmSized::len(value)];
    value.marshal(&mut TpmWriter::new(&mut bytes)).map_err(Trouble::unexpected)?;
    Ok(bytes)
}

/// Appends bytes with their length before them (a `TPM2B`).
pub(crate) fn put_sized(out: &mut SecretBuffer, bytes: &[u8]) -> Result<(), Trouble> {
    let len = u16::try_from(bytes.len()).map_err(Trouble::unexpected)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// The bytes behind their length, and what follows them.
pub(crate) fn take_sized(bytes: &[u8]) -> Result<(&[u8], &[u8]), Trouble> {
    let (len, rest) = bytes.split_first_chunk::<2>().ok_or_else(Trouble::cut_short)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or_else(Trouble::cut_short)
}

/// A structure that fills `bytes`.
pub(crate) fn whole<T: TpmUnmarshal>(bytes: &[u8]) -> Result<T, Trouble> {
    match T::unmarshal(bytes).map_err(Trouble::unexpected)? {
        (value, []) => Ok(value),
        _ => Err(Trouble::unexpected("more bytes than belong there")),
    }
}

/// A selection of PCRs of one bank.
pub(crate) fn selection(bank: Bank, pcrs: impl IntoIterator<Item = u8>) -> Result<TpmlPcrSelection, Trouble> {
    let mut bits = [0u8; 3];
    for pcr in pcrs {
        let byte = bits.get_mut(usize::from(pcr / 8)).ok_or_else(|| Trouble::unexpected("there are 24 PCRs"))?;
        *byte |= 1 << (pcr % 8);
    }
    let pcr_select = TpmsPcrSelect::try_from(&bits[..]).map_err(Trouble::unexpected)?;
    let mut list = TpmlPcrSelection::new();
    list.try_push(TpmsPcrSelection { hash: bank.algorithm(), pcr_select }).map_err(Trouble::unexpected)?;
    Ok(list)
}

/// What a policy session holds after `TPM2_PolicyPCR` (part 3, 23.7): the policy of exactly these values.
pub(crate) fn pcr_policy(selection: &TpmlPcrSelection, values: &[u8]) -> Result<Digest, Trouble> {
    let command = TpmCc::PolicyPcr.value().to_be_bytes();
    let selection = bytes_of(selection)?;
    Ok(sha256(&[&[0; 32], &command[..], &selection, &sha256(values)].concat()))
}

/// The policy of what only approved policies open: `TPM2_PolicyAuthorize` (part 3, 23.16) by the key of this name.
pub(crate) fn authorised_policy(key: &[u8], policy_ref: &[u8]) -> Digest {
    let command = TpmCc::PolicyAuthorize.value().to_be_bytes();
    let first = sha256(&[&[0; 32], &command[..], key].concat());
    sha256(&[&first[..], policy_ref].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sized_bytes_are_bounded() {
        let mut out = SecretBuffer::default();
        put_sized(&mut out, b"abc").unwrap();
        out.push(9);
        assert_eq!(take_sized(out.expose()).unwrap(), (&b"abc"[..], &[9u8][..]));
        for short in [&[][..], &[0], &[0, 1], &[255, 255, 1]] {
            assert!(take_sized(short).is_err());
        }
    }

    #[test]
    fn selections_have_three_bytes() {
        let bytes = bytes_of(&selection(Bank::Sha256, [0, 7, 9, 23]).unwrap()).unwrap();
        assert_eq!(hex::encode(bytes), "00000001000b03810280");
        assert!(selection(Bank::Sha256, [24]).is_err());
    }
}
