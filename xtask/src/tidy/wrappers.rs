//! Other people's crates stay behind the crate of ours that wraps them.
//!
//! Whoever wants to know what talks to PostgreSQL, or where cryptography is done, has one place to read. Development
//! dependencies, `tests` and `xtask` are outside of the house and exempt.

use super::{Context, Finding, Outcome, matches_folder};
use crate::workspace::Graph;

const SERVER: &str = "crates/apps/server";
const CLIENT: &str = "crates/apps/client";
const CLI: &str = "crates/apps/cli";
const HTTP: &str = "crates/protocols/http";
const WEBHOOK: &str = "crates/drivers/notify-webhook";
const REST: &str = "crates/protocols/rest";
const OIDC: &str = "crates/drivers/login-oidc";
const LDAP: &str = "crates/drivers/login-ldap";
const CLOUD: &str = "crates/drivers/root-cloud";
const BUCKET: &str = "crates/drivers/archive-s3";
const PROTOCOLS: &[&str] = &["crates/protocols/http", "crates/protocols/rest", "crates/protocols/console", SERVER];
const ABOVE_BASE: &[&str] =
    &["crates/ports/*", "crates/engine", "crates/drivers/*", "crates/protocols/*", "crates/apps/*"];

struct Wrapper {
    name: &'static str,
    only_in: &'static [&'static str],
}

const TABLE: &[Wrapper] = &[
    Wrapper { name: "aws-config", only_in: &[CLOUD] },
    Wrapper { name: "aws-credential-types", only_in: &[CLOUD, BUCKET] },
    Wrapper { name: "aws-runtime", only_in: &[CLOUD] },
    Wrapper { name: "aws-sdk-kms", only_in: &[CLOUD] },
    Wrapper { name: "aws-sigv4", only_in: &[BUCKET] },
    Wrapper { name: "aws-smithy-async", only_in: &[CLOUD] },
    Wrapper { name: "aws-smithy-runtime-api", only_in: &[CLOUD] },
    Wrapper { name: "aws-smithy-types", only_in: &[CLOUD] },
    Wrapper { name: "aws-smithy-xml", only_in: &[BUCKET] },
    Wrapper { name: "aws-lc-rs", only_in: &["crates/base/crypto"] },
    Wrapper { name: "vsss-rs", only_in: &["crates/base/crypto"] },
    Wrapper { name: "subtle", only_in: &["crates/base/secret", "crates/base/crypto"] },
    // The wire types stand alone and wipe their own buffers.
    Wrapper { name: "zeroize", only_in: &["crates/base/secret", "crates/base/crypto", "crates/protocols/wire"] },
    Wrapper { name: "jsonwebtoken", only_in: &["crates/base/identity"] },
    Wrapper { name: "cedar-policy", only_in: &["crates/base/policy"] },
    Wrapper { name: "ciborium", only_in: &["crates/base/identity"] },
    Wrapper { name: "krilla", only_in: &["crates/base/ceremony"] },
    Wrapper { name: "skrifa", only_in: &["crates/base/ceremony"] },
    Wrapper { name: "dejavu", only_in: &["crates/base/ceremony"] },
    Wrapper { name: "sqlx", only_in: &["crates/drivers/store-postgres"] },
    Wrapper { name: "rusqlite", only_in: &["crates/drivers/store-sqlite"] },
    Wrapper { name: "axum", only_in: PROTOCOLS },
    Wrapper { name: "hyper", only_in: PROTOCOLS },
    Wrapper { name: "hyper-util", only_in: PROTOCOLS },
    Wrapper { name: "http", only_in: PROTOCOLS },
    Wrapper { name: "http-body-util", only_in: PROTOCOLS },
    Wrapper { name: "tower", only_in: PROTOCOLS },
    Wrapper { name: "tokio-rustls", only_in: &[HTTP, SERVER, CLIENT] },
    Wrapper { name: "rustls-platform-verifier", only_in: &[CLIENT] },
    Wrapper { name: "rustls", only_in: &[HTTP, SERVER, CLIENT, WEBHOOK, OIDC, LDAP, CLOUD, BUCKET] },
    Wrapper { name: "rustls-pki-types", only_in: &[HTTP, SERVER, CLIENT, LDAP] },
    Wrapper { name: "x509-parser", only_in: &[HTTP, SERVER] },
    Wrapper { name: "rcgen", only_in: &[SERVER] },
    Wrapper { name: "sd-notify", only_in: &[SERVER] },
    Wrapper { name: "utoipa", only_in: &["crates/protocols/wire", REST, SERVER] },
    Wrapper { name: "utoipa-axum", only_in: &[REST, SERVER] },
    Wrapper { name: "reqwest", only_in: &[CLIENT, WEBHOOK, OIDC, CLOUD, BUCKET] },
    Wrapper { name: "cryptoki", only_in: &["crates/drivers/root-pkcs11"] },
    Wrapper { name: "ldap3", only_in: &[LDAP] },
    Wrapper { name: "lettre", only_in: &["crates/drivers/notify-smtp"] },
    Wrapper { name: "clap", only_in: &[CLI] },
    Wrapper { name: "clap_complete", only_in: &[CLI] },
    Wrapper { name: "comfy-table", only_in: &[CLI] },
    Wrapper { name: "indicatif", only_in: &[CLI] },
    Wrapper { name: "rpassword", only_in: &[CLI] },
    Wrapper { name: "tracing-subscriber", only_in: &[SERVER, CLI] },
    Wrapper { name: "prometheus-client", only_in: &[HTTP, SERVER] },
    Wrapper { name: "rustix", only_in: &["crates/drivers/*", SERVER, CLI] },
    Wrapper { name: "tpm2-protocol", only_in: &["crates/drivers/root-tpm"] },
    // The base floor is pure: nothing there waits, logs or shares state.
    Wrapper { name: "tokio", only_in: ABOVE_BASE },
    Wrapper { name: "async-trait", only_in: ABOVE_BASE },
    Wrapper { name: "futures", only_in: ABOVE_BASE },
    Wrapper { name: "tracing", only_in: ABOVE_BASE },
    Wrapper { name: "parking_lot", only_in: ABOVE_BASE },
    Wrapper { name: "arc-swap", only_in: ABOVE_BASE },
    Wrapper { name: "tempfile", only_in: ABOVE_BASE },
];

/// Crates that may not be built into anything, with what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one cryptographic module; switch the feature that pulls it in"),
    ("openssl", "aws-lc-rs is the one cryptographic module, rustls the one TLS library"),
    ("openssl-sys", "aws-lc-rs is the one cryptographic module, rustls the one TLS library"),
    ("native-tls", "rustls is the one TLS library"),
    ("rsa", "it leaks through timing (RUSTSEC-2023-0071); aws-lc-rs does RSA"),
    ("sharks", "it reuses polynomial coefficients (RUSTSEC-2024-0398); keyreeve-crypto does secret sharing"),
    ("serde_yaml", "it is unmaintained; configuration is TOML, wire formats are JSON"),
];

pub(super) fn run(context: &Context) -> Outcome {
    let mut findings = misplaced(&context.graph);
    findings.extend(banned(&context.graph));
    findings.into()
}

fn misplaced(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let house = graph.members.iter().filter(|member| matches_folder("crates/*", &member.folder));
    for member in house {
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.development) {
            let Some(wrapper) = TABLE.iter().find(|wrapper| wrapper.name == dependency.name) else { continue };
            if wrapper.only_in.iter().any(|pattern| matches_folder(pattern, &member.folder)) {
                continue;
            }
            let message = format!("{} may not use `{}` directly", member.folder, dependency.name);
            let remedy = format!("use what {} offers, or widen it there", wrapper.only_in.join(", "));
            findings.push(Finding::new(&format!("{}/Cargo.toml", member.folder), None, message, remedy));
        }
    }
    findings
}

fn banned(graph: &Graph) -> Vec<Finding> {
    let hits = graph.packages.iter().filter_map(|package| {
        let (name, remedy) = BANNED.iter().find(|(name, _)| *name == package.name)?;
        let message = format!("`{name}` {} is in the graph (`cargo tree -i {name}` says why)", package.version);
        Some(Finding::new("Cargo.lock", None, message, *remedy))
    });
    hits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Member, Package};

    fn graph(folder: &str, name: &str, development: bool) -> Graph {
        let dependencies = vec![Dependency { name: name.to_owned(), development, folder: None }];
        let member = Member { folder: folder.to_owned(), dependencies, ..Member::default() };
        Graph { members: vec![member], packages: Vec::new() }
    }

    #[test]
    fn a_wrapped_crate_is_refused_elsewhere() {
        assert_eq!(misplaced(&graph("crates/engine", "sqlx", false)).len(), 1);
        assert_eq!(misplaced(&graph("crates/base/model", "tokio", false)).len(), 1);
        assert_eq!(misplaced(&graph("crates/drivers/store-postgres", "sqlx", false)).len(), 0);
        assert_eq!(misplaced(&graph("crates/engine", "sqlx", true)).len(), 0);
        assert_eq!(misplaced(&graph("tests", "reqwest", false)).len(), 0);
    }

    #[test]
    fn a_banned_crate_anywhere_in_the_graph_is_found() {
        let package = Package { name: "ring".into(), version: "0.17.0".into(), license: None };
        let found = banned(&Graph { members: Vec::new(), packages: vec![package] });
        assert!(found[0].to_string().contains("cargo tree -i ring"));
    }
}
