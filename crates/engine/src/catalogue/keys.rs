//! Keyrings and keys: their life and their use.

use super::{CHANGE, READ, USE};

super::rows! {
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
    KEY_SUSPEND = "key.suspend", Key, [LIFECYCLE, REVOKE], CHANGE, Open, "Halts all use of a key for a time.";
    KEY_DEACTIVATE = "key.deactivate", Key, [LIFECYCLE], CHANGE, Open,
        "Ends protection with a key; it still processes what it protected.";
    KEY_COMPROMISE = "key.compromise", Key, [LIFECYCLE, REVOKE], CHANGE, Open,
        "Records that a key or one of its versions may be known to others, and stops its use.";
    KEY_ROTATE = "key.rotate", Key, [LIFECYCLE, REPLACE], CHANGE, Open,
        "Makes a new version of a key; older versions go on processing.";
    KEY_IMPORT_PARAMETERS = "key.import-parameters", Key, [LIFECYCLE], CHANGE, Open,
        "Makes a key under which material is wrapped for one import.";
    KEY_IMPORT = "key.import", Key, [LIFECYCLE], CHANGE, Open, "Makes a key of material that comes wrapped.";
    KEY_IMPORT_VERSION = "key.import-version", Key, [LIFECYCLE], CHANGE, Open,
        "Makes a new version of a key of material that comes wrapped; older versions go on processing.";
    KEY_REIMPORT = "key.reimport", Key, [LIFECYCLE], CHANGE, Open,
        "Puts imported material back that was erased when its time was over, or gives it another end.";
    KEY_END_MATERIAL = "key.end-material", Key, [SCHEDULED], CHANGE, Open,
        "Erases imported material whose time is over; done by the server itself.";
    KEY_EXPORT = "key.export", Key, [EXPORT], CHANGE, Open,
        "Hands out the material of an exportable key, wrapped under a public key that others agreed to.";
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
}
