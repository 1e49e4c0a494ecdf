//! Platform configuration registers: which are looked at, what they hold, and how two readings differ.

use std::collections::BTreeMap;
use std::time::Duration;

use keyreeve_crypto::random::Random;
use serde::{Deserialize, Serialize};
use tpm2_protocol::data::{TpmAlgId, TpmlPcrSelection};

use crate::bench::Trouble;
use crate::commands::Tpm;
use crate::transport::Device;
use crate::wire::selection;

/// The hash function of a bank of PCRs. SHA-1 is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bank {
    /// SHA-256, which every TPM 2.0 has.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
}

impl Bank {
    pub(crate) fn algorithm(self) -> TpmAlgId {
        match self {
            Self::Sha256 => TpmAlgId::Sha256,
            Self::Sha384 => TpmAlgId::Sha384,
        }
    }

    /// The bank of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha384].into_iter().find(|bank| bank.name() == name)
    }

    /// The name in files and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        }
    }

    /// Length of a PCR in it (bytes).
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

/// What PCRs of one bank hold, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrValues {
    /// The bank.
    pub bank: Bank,
    /// The values, each as long as the bank's hash.
    pub values: BTreeMap<u8, Vec<u8>>,
}

/// A reading as it is handed to whoever approves it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    bank: Bank,
    pcrs: BTreeMap<u8, String>,
}

impl PcrValues {
    /// As JSON: `{"bank": "sha256", "pcrs": {"7": "<digits>"}}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let pcrs: BTreeMap<String, String> =
            self.values.iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value))).collect();
        serde_json::json!({ "bank": self.bank.name(), "pcrs": pcrs })
    }

    /// Reads what [`to_json`](Self::to_json) gives.
    ///
    /// # Errors
    /// [`Trouble::Unexpected`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Trouble> {
        let reading: Reading = serde_json::from_slice(bytes).map_err(Trouble::unexpected)?;
        let mut read = Self { bank: reading.bank, values: BTreeMap::new() };
        for (pcr, digits) in &reading.pcrs {
            read.put(*pcr, digits)?;
        }
        Ok(read)
    }

    /// Says what a PCR holds, or will hold, in hexadecimal digits.
    ///
    /// # Errors
    /// [`Trouble::Unexpected`]: no such PCR, or a value of another length than the bank's.
    pub fn put(&mut self, pcr: u8, digits: &str) -> Result<(), Trouble> {
        let value = hex::decode(digits).ok().filter(|value| value.len() == self.bank.len() && pcr < 24);
        let bank = self.bank.name();
        let wrong =
            || Trouble::unexpected(format!("`{pcr}={digits}` is no value of a PCR (0 to 23) in the bank {bank}"));
        self.values.insert(pcr, value.ok_or_else(wrong)?);
        Ok(())
    }

    pub(crate) fn selection(&self) -> Result<TpmlPcrSelection, Trouble> {
        selection(self.bank, self.values.keys().copied())
    }

    /// The values one after the other, as a policy takes them.
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.values.values().flatten().copied().collect()
    }

    /// In how many PCRs `other` differs, which is about the same ones.
    pub(crate) fn distance(&self, other: &Self) -> usize {
        self.values.iter().filter(|(pcr, value)| other.values.get(pcr) != Some(value)).count()
    }

    /// Which PCRs differ from what was approved, and how.
    pub(crate) fn differences(&self, approved: &Self) -> String {
        let differ = self.values.iter().filter(|(pcr, value)| approved.values.get(pcr) != Some(value));
        let texts = differ.map(|(pcr, present)| {
            let recorded = approved.values.get(pcr).map_or_else(|| "none".to_owned(), hex::encode);
            format!("PCR {pcr} is {}, approved is {recorded}", hex::encode(present))
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}

/// Reads what PCRs hold at present. Blocks.
///
/// # Errors
/// [`Trouble`]: no TPM, or one without this bank.
pub fn read_pcrs(
    device: &Device,
    random: &Random,
    bank: Bank,
    pcrs: impl IntoIterator<Item = u8>,
) -> Result<PcrValues, Trouble> {
    let mut tpm = Tpm::open(device, random, Duration::from_secs(10))?;
    read(&mut tpm, bank, pcrs)
}

pub(crate) fn read(tpm: &mut Tpm, bank: Bank, pcrs: impl IntoIterator<Item = u8>) -> Result<PcrValues, Trouble> {
    let mut wanted: Vec<u8> = pcrs.into_iter().collect();
    let mut values = BTreeMap::new();
    while !wanted.is_empty() {
        let (read, digests) = tpm.pcr_read(&selection(bank, wanted.iter().copied())?)?;
        let bits: Vec<u8> = read.first().map(|one| one.pcr_select.to_vec()).unwrap_or_default();
        let is_read = |pcr: &u8| bits.get(usize::from(pcr / 8)).is_some_and(|byte| byte & (1 << (pcr % 8)) != 0);
        let mut found: Vec<u8> = wanted.iter().copied().filter(is_read).collect();
        found.sort_unstable();
        if found.is_empty() || found.len() != digests.len() {
            return Err(Trouble::NoBank(bank.name()));
        }
        wanted.retain(|pcr| !is_read(pcr));
        for (pcr, value) in found.into_iter().zip(digests) {
            if value.len() != bank.len() {
                return Err(Trouble::unexpected("a PCR of another length"));
            }
            values.insert(pcr, value);
        }
    }
    Ok(PcrValues { bank, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_handed_over_as_json() {
        let values = PcrValues { bank: Bank::Sha384, values: BTreeMap::from([(4, vec![1; 48]), (11, vec![2; 48])]) };
        assert_eq!(PcrValues::parse(values.to_json().to_string().as_bytes()).unwrap(), values);
        let short = "ab".repeat(32);
        for bad in [
            "{}".to_owned(),
            format!("{{\"bank\":\"sha384\",\"pcrs\":{{\"4\":\"{short}\"}}}}"),
            format!("{{\"bank\":\"sha256\",\"pcrs\":{{\"24\":\"{short}\"}}}}"),
            format!("{{\"bank\":\"sha1\",\"pcrs\":{{\"4\":\"{short}\"}}}}"),
            format!("{{\"bank\":\"sha256\",\"pcrs\":{{\"4\":\"x{short}\"}}}}"),
        ] {
            assert!(PcrValues::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn differences_name_the_registers() {
        let reading = |a: u8, b: u8| PcrValues {
            bank: Bank::Sha256,
            values: BTreeMap::from([(4, vec![a; 32]), (7, vec![b; 32])]),
        };
        let (present, approved) = (reading(1, 2), reading(1, 3));
        assert_eq!((present.distance(&approved), present.distance(&present)), (1, 0));
        let text = present.differences(&approved);
        assert_eq!(text, format!("PCR 7 is {}, approved is {}", "02".repeat(32), "03".repeat(32)));
        assert_eq!(present.joined(), [[1u8; 32], [2; 32]].concat());
    }
}
