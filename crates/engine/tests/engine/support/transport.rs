//! The half of whoever brings a key.

use keyreeve_crypto::{KeyAlgorithm, Random, TransportPublic, WrappingMethod};
use keyreeve_engine::KeyRef;
use keyreeve_engine::ops::imports::{Destination, Incoming, Parameters, ParametersReply};
use keyreeve_model::Label;
use keyreeve_model::ids::ImportId;
use keyreeve_secret::SecretBytes;

use super::{House, Who, keyring};

/// Parameters for a new key of the first keyring, or for one that is there.
pub(crate) fn prepared(key: Option<&KeyRef>, algorithm: KeyAlgorithm, method: WrappingMethod) -> Parameters {
    let of = match key {
        Some(key) => Destination::Key(key.clone()),
        None => Destination::NewKey { keyring: keyring("default"), algorithm, purpose: None },
    };
    Parameters::new(of, method, None, 24).unwrap()
}

/// Bytes wrapped for an import.
pub(crate) fn wrapped_for(parameters: &ParametersReply, bytes: &[u8]) -> Incoming {
    let public = TransportPublic::from_pem(parameters.method, &parameters.public_key).unwrap();
    assert_eq!(public.fingerprint().to_string(), parameters.fingerprint);
    let wrapped = public.wrap(&Random::from_module().unwrap(), b"", &SecretBytes::copy_from(bytes)).unwrap();
    Incoming { import: parameters.import, wrapped, expires: None, statement: Label::default() }
}

/// An XAES-256-GCM key wrapped for an import by somebody; one for no import where they may not ask for it.
pub(crate) async fn incoming(house: &House, who: &Who, key: Option<&KeyRef>, bytes: &[u8]) -> Incoming {
    let parameters = prepared(key, KeyAlgorithm::Xaes256Gcm, WrappingMethod::X25519MlKem768);
    match house.call(who, parameters).await {
        Ok(done) => wrapped_for(&done.reply, bytes),
        Err(_) => Incoming {
            import: ImportId::from_bytes([7; 16]),
            wrapped: vec![0; 1200],
            expires: None,
            statement: Label::default(),
        },
    }
}
