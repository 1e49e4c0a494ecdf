//! The backup key and what follows from it; cut keys.

use keyreeve_crypto::kdf::hkdf_sha256;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Purpose, Random};
use keyreeve_model::{KeyId, KeyringId, MaterialRow};
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::BackupError;

/// Bytes of the backup key and of a cut key.
pub(crate) const KEY_LEN: usize = 32;

/// What encrypts the backups of a deployment, in one version. The root of trust wraps it.
pub struct BackupKey {
    version: u32,
    secret: SecretBytes,
}

impl BackupKey {
    /// A new one, 32 bytes from the generator.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn generate(version: u32, random: &Random) -> Result<Self, BackupError> {
        Ok(Self { version, secret: random.secret_bytes(KEY_LEN).map_err(keyreeve_crypto::CryptoError::from)? })
    }

    /// From its secret.
    ///
    /// # Errors
    /// [`BackupError::Altered`] when it is not 32 bytes long.
    pub fn from_secret(version: u32, secret: SecretBytes) -> Result<Self, BackupError> {
        if secret.len() == KEY_LEN { Ok(Self { version, secret }) } else { Err(BackupError::Altered("backup key")) }
    }

    /// Its version, from 1.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What the root of trust wraps.
    #[must_use]
    pub const fn secret(&self) -> &SecretBytes {
        &self.secret
    }

    fn derive(&self, label: &str) -> Result<SecretBytes, BackupError> {
        let derived: SecretArray<KEY_LEN> = hkdf_sha256(self.secret.expose(), &[], label.as_bytes())?;
        Ok(SecretBytes::copy_from(derived.expose()))
    }

    /// The data key of archives and log segments; each has a salt of its own besides.
    pub(crate) fn streams(&self) -> Result<SecretBytes, BackupError> {
        self.derive("keyreeve/backup/streams/1")
    }

    /// What seals ledgers (XAES-256-GCM).
    pub(crate) fn ledgers(&self) -> Result<LoadedKey, BackupError> {
        load(&self.derive("keyreeve/backup/ledgers/1")?)
    }
}

fn load(key: &SecretBytes) -> Result<LoadedKey, BackupError> {
    let material = Material::import(KeyAlgorithm::Xaes256Gcm, key)?;
    Ok(LoadedKey::load(&material, Purpose::Encrypt)?)
}

/// What seals the material of one key in archives. It lives in the ledger of the key's shard and nowhere else.
pub struct CutKey(pub(crate) SecretArray<KEY_LEN>);

impl CutKey {
    /// A new one.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn generate(random: &Random) -> Result<Self, BackupError> {
        let bytes = random.secret_bytes(KEY_LEN).map_err(keyreeve_crypto::CryptoError::from)?;
        Self::from_bytes(bytes.expose()).ok_or(BackupError::Altered("cut key"))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        SecretArray::copy_from(bytes).ok().map(Self)
    }

    fn loaded(&self) -> Result<LoadedKey, BackupError> {
        load(&SecretBytes::copy_from(self.0.expose()))
    }

    /// Seals material for an archive. The row keeps its place; its epoch says under which it stood in the store.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn seal(&self, random: &Random, row: &MaterialRow, material: &SecretBytes) -> Result<MaterialRow, BackupError> {
        let place = place(row.key, row.version, row.keyring, row.shard);
        let wrapped = self.loaded()?.seal(random, &place, material.expose())?;
        Ok(MaterialRow { wrapped, ..row.clone() })
    }

    /// Opens material from an archive.
    ///
    /// # Errors
    /// [`BackupError::Altered`].
    pub fn open(&self, row: &MaterialRow) -> Result<SecretBytes, BackupError> {
        let place = place(row.key, row.version, row.keyring, row.shard);
        self.loaded()?.open(&place, &row.wrapped).map_err(|_| BackupError::Altered("material row"))
    }
}

/// The associated data of material in an archive: a row that was moved does not open.
fn place(key: KeyId, version: u32, keyring: KeyringId, shard: u32) -> Vec<u8> {
    let mut aad = b"keyreeve/backup-material/1".to_vec();
    aad.extend_from_slice(key.as_bytes());
    aad.extend_from_slice(&version.to_be_bytes());
    aad.extend_from_slice(keyring.as_bytes());
    aad.extend_from_slice(&shard.to_be_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_opens_only_in_its_own_place_and_under_its_own_cut_key() {
        let random = Random::from_module().unwrap();
        let (cut, other) = (CutKey::generate(&random).unwrap(), CutKey::generate(&random).unwrap());
        let (key, keyring) = (KeyId::from_bytes([1; 16]), KeyringId::from_bytes([2; 16]));
        let row = MaterialRow { key, version: 3, keyring, shard: 4, epoch: 5, wrapped: b"under the epoch".to_vec() };
        let sealed = cut.seal(&random, &row, &SecretBytes::copy_from(b"material")).unwrap();
        assert_eq!(cut.open(&sealed).unwrap().expose(), b"material");
        assert!(other.open(&sealed).is_err());
        let elsewhere: [fn(&mut MaterialRow); 5] = [
            |row| row.key = KeyId::from_bytes([9; 16]),
            |row| row.version = 9,
            |row| row.keyring = KeyringId::from_bytes([9; 16]),
            |row| row.shard = 9,
            |row| row.wrapped[9] ^= 1,
        ];
        for alter in elsewhere {
            let mut moved = sealed.clone();
            alter(&mut moved);
            assert!(cut.open(&moved).is_err());
        }
    }
}
