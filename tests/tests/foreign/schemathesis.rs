//! Schemathesis throws what the OpenAPI document allows, and what it does not, at the server.

use keyreeve_tests::long;
use std::path::{Path, PathBuf};

use crate::{Bench, have};

/// The program, in an environment of its own below `target/`, where `cargo xtask test` installs it.
fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("schemathesis/bin/schemathesis")
}

#[test]
fn it_finds_no_server_error() {
    let program = program();
    if !have(program.to_str().unwrap(), &["--version"]) {
        return;
    }
    let bench = Bench::new();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/keyreeve.json");
    let bearer = format!("Authorization: Bearer {}", bench.dev.endpoint.token.as_ref().unwrap());
    let url = bench.dev.endpoint.url.clone();
    let words = [
        "run",
        document.to_str().unwrap(),
        "--url",
        &url,
        "--header",
        &bearer,
        "--tls-verify",
        ".keyreeve-dev/ca.pem",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--max-examples",
        if long() { "100" } else { "5" },
        "--phases",
        "examples,coverage,fuzzing",
        "--exclude-path",
        "/v1/system/seal",
        // What it makes up as a provider is not there, which is truly answered with 503.
        "--exclude-path-regex",
        "^/v1/login/(oidc|ldap)/",
        "--generation-database",
        "none",
        "--no-color",
    ];
    let _ = bench.run(program.to_str().unwrap(), &words);
}
