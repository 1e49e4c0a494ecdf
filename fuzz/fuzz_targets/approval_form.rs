//! Requests that wait for consent, in the form that is stored, shown and signed: one form only, whatever was sent.
#![no_main]

use keyreeve_model::approval::{Proposal, Request};
use keyreeve_model::canonical::canonical;
use keyreeve_model::ids::DeploymentId;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Ok(form) = canonical(&value)
    {
        let back: Value = serde_json::from_slice(&form).expect("the canonical form is JSON");
        assert_eq!(canonical(&back).as_deref(), Ok(form.as_slice()), "one form only");
    }
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let proposer = "somebody".parse().expect("a name");
        let deployment = DeploymentId::from_bytes([1; 16]);
        let digest = request.digest(deployment, &proposer);
        let stored = serde_json::to_vec(&request).expect("a request is JSON");
        let read: Request = serde_json::from_slice(&stored).expect("a request is read back");
        assert_eq!(read.digest(deployment, &proposer), digest, "storing alters nothing that is signed");
    }
    let _ = serde_json::from_slice::<Proposal>(bytes);
});
