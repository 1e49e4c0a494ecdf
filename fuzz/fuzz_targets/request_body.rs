//! Bodies of the HTTP interface, each into every type that could be meant.
#![no_main]

use keyreeve_wire::access::{CreateToken, ExplainRequest, PutPrincipal, UpdatePrincipal};
use keyreeve_wire::cipher::{CiphertextRequest, DecryptRequest, EncryptRequest, ReEncryptRequest};
use keyreeve_wire::derivation::{AgreeRequest, DeriveRequest, UnwrapRequest, WrapRequest};
use keyreeve_wire::keys::{CompromiseKey, CreateKey, UpdateKey};
use keyreeve_wire::signing::{SignRequest, VerifyRequest};
use keyreeve_wire::system::{InitRequest, UnsealRequest};
use libfuzzer_sys::fuzz_target;

macro_rules! read {
    ($body:expr, $($request:ty),+) => {
        $(let _ = serde_json::from_slice::<$request>($body);)+
    };
}

fuzz_target!(|body: &[u8]| {
    read!(body, EncryptRequest, DecryptRequest, ReEncryptRequest, CiphertextRequest, SignRequest, VerifyRequest);
    read!(body, DeriveRequest, AgreeRequest, WrapRequest, UnwrapRequest, CreateKey, UpdateKey, CompromiseKey);
    read!(body, CreateToken, PutPrincipal, UpdatePrincipal, ExplainRequest, InitRequest, UnsealRequest);
});
