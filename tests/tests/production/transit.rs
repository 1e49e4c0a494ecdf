//! A server whose root of trust is in a genuine Vault: it opens by itself at each start, and not without that key.

use keyreeve_tests::{Layout, Production, Up, Vault, base64, unbase64};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const POLICY: &str = "path \"transit/keys/keyreeve\" { capabilities = [\"read\"] }\n\
                      path \"transit/encrypt/keyreeve\" { capabilities = [\"update\"] }\n\
                      path \"transit/decrypt/keyreeve\" { capabilities = [\"update\"] }";

async fn prepare_vault(home: &Path) -> Option<Vault> {
    let vault = Vault::start().await?;
    let _ = vault.post("transit/keys/keyreeve", json!({})).await;
    let _ = vault.post("sys/policies/acl/keyreeve", json!({ "policy": POLICY })).await;
    std::fs::write(home.join("vault-token"), vault.token(&["keyreeve"], "1h").await).unwrap();
    std::fs::set_permissions(home.join("vault-token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(home.join("vault-ca.pem"), vault.pki().pem()).unwrap();
    Some(vault)
}

fn prepare(home: &Path, vault: &Vault) -> Production {
    let production = Production::prepare(home, &Layout::default());
    let fields = format!(
        "kind = \"vault-transit\"\naddress = \"{}\"\nkey = \"keyreeve\"\nca = \"vault-ca.pem\"\n\
         login = {{ method = \"token\", file = \"vault-token\" }}",
        vault.address()
    );
    let text = std::fs::read_to_string(&production.config).unwrap().replace("kind = \"shamir\"", &fields);
    assert!(text.contains("vault-transit"));
    std::fs::write(&production.config, text).unwrap();
    production
}

fn reads(production: &Production, up: &Up, ciphertext: &str) -> Vec<u8> {
    let user = up.api("data", &production.people.user);
    let plain = user.post("/v1/decrypt", &json!({ "ciphertext": ciphertext })).ok();
    unbase64(plain["plaintext"].as_str().unwrap())
}

#[test]
fn a_root_in_vault_opens_at_each_start_and_not_while_vault_is_sealed() {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let Some(vault) = runtime.block_on(prepare_vault(home.path())) else { return };
    let mut production = prepare(home.path(), &vault);
    let up = production.start();
    let made = up.endpoint("admin").api().post("/v1/system/init", &json!({})).ok();
    assert_eq!(made["shares"].as_array().map(Vec::len), Some(0), "{made}");
    production.people.operator = made["token"].as_str().unwrap().to_owned();
    production.populate(&up);
    let key = json!({ "algorithm": "xaes-256-gcm", "purpose": "encrypt", "aliases": ["docs"] });
    let _ = up.api("data", &production.people.keeper).post("/v1/keys", &key).ok();
    let user = up.api("data", &production.people.user);
    let sealed = user.post("/v1/keys/docs/encrypt", &json!({ "plaintext": base64("text") })).ok();
    let sealed = sealed["ciphertext"].as_str().unwrap().to_owned();
    assert!(up.server.terminate().success());
    // A new process asks Vault, and nobody else.
    let up = production.start();
    assert_eq!(reads(&production, &up, &sealed), b"text");
    assert!(up.server.terminate().success());
    // While Vault is sealed there is no start, and the reason is said.
    runtime.block_on(vault.seal());
    let refused = production.command().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("sealed"), "{said}");
    runtime.block_on(vault.unseal());
    let up = production.start();
    assert_eq!(reads(&production, &up, &sealed), b"text");
}
