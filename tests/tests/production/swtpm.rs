//! The root of trust in a TPM: opened by it at the start, by shares where it refuses.

use keyreeve_tests::{Cli, Layout, Production, Swtpm, Up};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A server whose root is in this TPM, and a policy key beside it.
fn prepare(home: &Path, tpm: &Swtpm) -> Production {
    let production = Production::prepare(home, &Layout::default());
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(home.join("policy-public.pem"), key.public_key_pem()).unwrap();
    std::fs::write(home.join("policy.pem"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(home.join("policy.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(home.join("approvals")).unwrap();
    let fields = format!(
        "kind = \"tpm\"\ndevice = \"{}\"\npcrs = [4, 7, 11]\npolicy_key = \"policy-public.pem\"\n\
         approvals = \"approvals\"",
        tpm.device()
    );
    let text = std::fs::read_to_string(&production.config).unwrap().replace("kind = \"shamir\"", &fields);
    std::fs::write(&production.config, text).unwrap();
    production
}

/// Approves what the TPM holds, but for what is said of some registers.
fn approve(cli: &Cli, home: &Path, tpm: &Swtpm, file: &str, set: &[&str]) {
    let now = cli.json(&["root", "tpm", "pcrs", "--device", &tpm.device(), "--pcrs", "4,7,11"]);
    std::fs::write(home.join("now.json"), now.to_string()).unwrap();
    let out = format!("approvals/{file}");
    let mut words = vec!["root", "tpm", "approve", "--key", "policy.pem", "--values", "now.json", "--out", &out];
    words.extend(set.iter().flat_map(|one| ["--set", one]));
    let _ = cli.run(&words).code(0);
}

fn is_open(up: &Up) -> bool {
    up.endpoint("admin").api().get("/v1/system/status").ok()["open"] == true
}

#[test]
fn a_server_opens_by_its_tpm_and_by_shares_where_that_refuses() {
    let Some(tpm) = Swtpm::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let (mut production, cli) = (prepare(home.path(), &tpm), Cli::new(home.path()));
    let check = || cli.json(&["config", "check", "keyreeve.toml"]);
    assert!(check()["warnings"].to_string().contains("no approval of these PCRs"));
    approve(&cli, home.path(), &tpm, "installed.json", &[]);
    assert!(check()["checked"].to_string().contains("installed.json approves what the PCRs"));
    let up = production.start_new();
    assert!(up.server.terminate().success());
    assert!(check()["checked"].to_string().contains("the TPM opens the sealed key"));
    // The machine starts as it was.
    tpm.restart();
    let up = production.start();
    assert!(is_open(&up));
    assert!(up.server.terminate().success());
    // The machine was changed, and nobody said that it would be.
    tpm.extend(7);
    let changed = tpm.pcr(7);
    let up = production.start();
    assert!(!is_open(&up));
    let log = up.server.log();
    assert!(log.contains(&format!("PCR 7 is {changed}, approved is {}", "00".repeat(32))), "{log}");
    production.unseal(&up);
    assert!(up.server.terminate().success());
    // The same change, approved before the machine starts with it.
    tpm.restart();
    approve(&cli, home.path(), &tpm, "changed.json", &[&format!("7={changed}")]);
    tpm.extend(7);
    let up = production.start();
    assert!(is_open(&up));
    assert!(up.server.terminate().success());
}

#[test]
fn keys_and_values_that_are_none_are_refused() {
    let Some(tpm) = Swtpm::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let (_, cli) = (prepare(home.path(), &tpm), Cli::new(home.path()));
    approve(&cli, home.path(), &tpm, "good.json", &[]);
    let refused = |words: &[&str]| {
        let said = cli.run(&[&["root", "tpm", "approve", "--values", "now.json"], words].concat()).code(2);
        said.stderr.clone()
    };
    assert!(refused(&["--key", "policy-public.pem"]).contains("policy-public.pem"), "others may read it");
    assert!(refused(&["--key", "server.key", "--set", "7=00"]).contains("no value of a PCR"));
    assert!(refused(&["--key", "policy.pem", "--set", "24=00"]).contains("no value of a PCR"));
    let _ = cli.run(&["root", "tpm", "pcrs", "--device", "/dev/null", "--pcrs", "7"]).code(6);
    // A configuration that names no key.
    std::fs::write(home.path().join("policy-public.pem"), "x").unwrap();
    let said = cli.run(&["config", "check", "keyreeve.toml"]).code(2);
    assert!(said.stderr.contains("root.policy_key") && said.stderr.contains("P-256"), "{}", said.stderr);
}
