//! Schemathesis throws what the OpenAPI document allows, and what it does not, at the server.

use keyreeve_tests::{long, not_run};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Bench;

/// The version whose options are used here.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// The program, in an environment of its own below `target/`, made when it is missing.
fn schemathesis() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        |target| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target),
    );
    let environment = target.join("schemathesis");
    let program = environment.join("bin/schemathesis");
    let works = || Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
    if works() {
        return Some(program);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).output();
    let pip = environment.join("bin/pip");
    let installed = made.is_ok_and(|output| output.status.success())
        && Command::new(pip)
            .args(["install", "--quiet", SCHEMATHESIS])
            .output()
            .is_ok_and(|output| output.status.success());
    (installed && works()).then_some(program)
}

#[test]
fn schemathesis_finds_no_server_error() {
    let Some(program) = schemathesis() else {
        return not_run("schemathesis cannot be installed with python3 and pip");
    };
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
        "--generation-database",
        "none",
        "--no-color",
    ];
    let _ = bench.run(program.to_str().unwrap(), &words);
}
