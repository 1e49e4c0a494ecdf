//! A server whose root of trust is in a hardware security module: it opens by itself, the module may fail and come
//! back, and `keyreeve root check` tells what it offers.

use keyreeve_tests::{
    Api, Cli, Layout, Production, Server, Softhsm, Up, base64, clock_mover, not_run, unbase64, wait_until,
};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

fn prepared(home: &Path, token: &Softhsm) -> Production {
    let production = Production::prepare(home, &Layout::default());
    let text = std::fs::read_to_string(&production.config).unwrap();
    let root = format!(
        "[root]\nkind = \"pkcs11\"\nlibrary = \"{}\"\ntoken = \"{}\"\npin_file = \"{}\"\n\
         environment = {{ SOFTHSM2_CONF = \"{}\" }}\n",
        Softhsm::LIBRARY,
        Softhsm::LABEL,
        token.pin_file().display(),
        token.configuration().display()
    );
    let text = text.replace("[root]\nkind = \"shamir\"\n", &root);
    assert!(text.contains("pkcs11"));
    std::fs::write(&production.config, text).unwrap();
    production
}

fn initialise(production: &mut Production, up: &Up) {
    let made = up.endpoint("admin").api().post("/v1/system/init", &json!({})).ok();
    assert_eq!(made["shares"].as_array().map(Vec::len), Some(0), "{made}");
    production.people.operator = made["token"].as_str().unwrap().to_owned();
    production.populate(up);
}

/// Processes whose parent is the server and whose command is the worker's.
fn workers(server: u32) -> Vec<u32> {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = folders.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("pkcs11-worker") && status.contains(&format!("\nPPid:\t{server}\n"))
    })
    .collect()
}

fn ready(up: &Up) -> bool {
    up.endpoint("all").api().get("/readyz").status == 200
}

#[test]
fn a_root_in_a_module_opens_by_itself_and_survives_its_library() {
    let Some(token) = Softhsm::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut production = prepared(home.path(), &token);
    let up = production.start();
    initialise(&mut production, &up);
    let (keeper, user) = (up.api("data", &production.people.keeper), up.api("data", &production.people.user));
    let key = json!({ "algorithm": "xaes-256-gcm", "purpose": "encrypt", "aliases": ["docs"] });
    let _ = keeper.post("/v1/keys", &key).ok();
    let sealed = user.post("/v1/keys/docs/encrypt", &json!({ "plaintext": base64("text") })).ok();
    let sealed = sealed["ciphertext"].as_str().unwrap().to_owned();
    // The library dies: nobody notices but the log.
    let [worker] = workers(up.server.pid())[..] else { panic!("one worker") };
    rustix::process::kill_process(Pid::from_raw(i32::try_from(worker).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(wait_until(Duration::from_secs(20), || ready(&up) && workers(up.server.pid()) != [worker]));
    let another = json!({ "algorithm": "ec-p256", "purpose": "sign", "aliases": ["other"] });
    let _ = keeper.post("/v1/keys", &another).ok();
    // The token is taken out: the server is not ready, and says why; put back, it is again.
    token.take_out();
    let [worker] = workers(up.server.pid())[..] else { panic!("one worker") };
    rustix::process::kill_process(Pid::from_raw(i32::try_from(worker).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(wait_until(Duration::from_secs(20), || !ready(&up)));
    token.put_back();
    assert!(wait_until(Duration::from_secs(30), || ready(&up)));
    // It opens by itself at the next start, and ends its worker with itself.
    let before = workers(up.server.pid());
    assert!(up.server.terminate().success());
    assert!(before.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists()), "the worker outlives the server");
    let up = production.start();
    let opened = up.api("data", &production.people.user);
    let opened = opened.post("/v1/decrypt", &json!({ "ciphertext": sealed })).ok();
    assert_eq!(unbase64(opened["plaintext"].as_str().unwrap()), b"text");
    assert!(up.server.terminate().success());
    // Its PIN is nowhere in what it wrote, nor does the token give the root key out.
    assert_eq!(token.try_to_export(), (1, 0));
}

#[test]
fn a_wrong_pin_stops_the_start() {
    let Some(token) = Softhsm::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut production = prepared(home.path(), &token);
    let up = production.start();
    initialise(&mut production, &up);
    assert!(up.server.terminate().success());
    let _ = token.write_pin("pin", "00000000");
    let ended = production.command().output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    // The code at which the shipped unit does not try again.
    assert_eq!(ended.status.code(), Some(12), "{said}");
    assert!(said.contains("PIN"), "{said}");
    let unit = include_str!("../../../deploy/keyreeve.service");
    assert!(unit.lines().any(|line| line == "RestartPreventExitStatus=12"));
    assert!(!said.contains("00000000"), "{said}");
}

#[test]
fn a_module_is_looked_at_before_it_is_configured_and_after() {
    let Some(token) = Softhsm::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let production = prepared(home.path(), &token);
    let cli = Cli::new(home.path());
    let config = production.config.display().to_string();
    let found = cli.json(&["root", "check", "--config", &config, "--login"]);
    assert_eq!(found["impossible"], json!([]), "{found}");
    let works = |what: &str| {
        let offers = found["offers"].as_array().unwrap();
        offers.iter().find(|offer| offer["what"] == what).unwrap_or_else(|| panic!("{what}: {found}"))["works"].clone()
    };
    assert_eq!((works("root of trust"), works("rsa-4096 to sign")), (json!(true), json!(true)));
    // SoftHSM has OAEP with SHA-1 only.
    assert_eq!(works("rsa-2048 to encrypt"), json!(false));
    let text = cli.run(&["root", "check", "--config", &config]).code(0);
    assert!(text.text().contains("can be a root of trust") && text.text().contains("CKM_AES_GCM"), "{text}");
    let _ = cli.run(&["root", "check", "--config", &config, "--root", "other"]).code(2);
    let _ = cli.run(&["root", "check", "--library", "/nonexistent.so", "--token-label", "x"]).code(8);
    let checked = cli.run(&["config", "check", &config]).code(0);
    assert!(checked.text().contains("pin_file"), "{checked}");
    let wrong = std::fs::read_to_string(&config).unwrap().replace("pin_file = ", "pin_descriptor = 3\npin_file = ");
    std::fs::write(&config, wrong).unwrap();
    let refused = cli.run(&["config", "check", &config]).code(2);
    assert!(refused.stderr.contains("several places"), "{refused}");
}

fn sealed(user: &Api, key: &str, text: &str) -> Value {
    user.post(&format!("/v1/keys/{key}/encrypt"), &json!({ "plaintext": base64(text) })).ok()["ciphertext"].clone()
}

fn opened(user: &Api, ciphertext: &Value) -> String {
    let opened = user.post("/v1/decrypt", &json!({ "ciphertext": ciphertext })).ok();
    String::from_utf8(unbase64(opened["plaintext"].as_str().unwrap())).unwrap()
}

/// An AES key and a signing key, made inside.
fn made_inside(keeper: &Api) {
    for (alias, algorithm, purpose) in [("inside", "aes-256-gcm", "encrypt"), ("signer", "ec-p256", "sign")] {
        let body = json!({ "algorithm": algorithm, "purpose": purpose, "aliases": [alias], "protection": "hsm" });
        let made = keeper.post("/v1/keys", &body).ok();
        assert_eq!((&made["protection"], &made["versions"][0]["device"]), (&json!("hsm"), &json!("main")), "{made}");
        let module = made["versions"][0]["provenance"]["module"].as_str().unwrap();
        assert!(module.contains("SoftHSM") && module.contains(Softhsm::LABEL), "{module}");
    }
    let body = json!({ "algorithm": "xaes-256-gcm", "protection": "hsm" });
    keeper.post("/v1/keys", &body).refused(400, "algorithm-not-allowed");
    let listed = keeper.get("/v1/keys?protection=hsm").ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
}

/// Uses the keys while the library's process dies again and again: what is answered is right.
fn used_while_the_worker_dies(production: &Production, up: &Up) {
    std::thread::scope(|scope| {
        let user = up.api("data", &production.people.user);
        let using = scope.spawn(move || {
            let mut done = 0;
            while done < 20 {
                let asked = user.post("/v1/keys/inside/encrypt", &json!({ "plaintext": base64("text") }));
                if asked.status == 200 {
                    let ciphertext = asked.ok()["ciphertext"].clone();
                    let back = user.post("/v1/decrypt", &json!({ "ciphertext": ciphertext }));
                    assert!(back.status == 200 || back.status == 503, "{back:?}");
                    done += 1;
                } else {
                    assert_eq!(asked.status, 503, "{asked:?}");
                }
            }
        });
        while !using.is_finished() {
            for worker in workers(up.server.pid()) {
                let _ =
                    rustix::process::kill_process(Pid::from_raw(i32::try_from(worker).unwrap()).unwrap(), Signal::KILL);
            }
            let _ = wait_until(Duration::from_millis(1500), || using.is_finished());
        }
        using.join().unwrap();
    });
    assert!(wait_until(Duration::from_secs(30), || ready(up)));
}

#[test]
fn keys_are_made_used_and_rotated_inside_the_module() {
    let Some(token) = Softhsm::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut production = prepared(home.path(), &token);
    let up = production.start();
    initialise(&mut production, &up);
    let (keeper, user) = (up.api("data", &production.people.keeper), up.api("data", &production.people.user));
    made_inside(&keeper);
    assert_eq!(token.try_to_export(), (3, 0), "the root and two keys, none of which leaves");
    let shown = String::from_utf8(token.tool(&["--list-objects", "--type", "secrkey"]).stdout).unwrap();
    let told = |what: &str| shown.matches(what).count();
    assert_eq!((told("never extractable"), told("always sensitive")), (2, 2), "{shown}");

    let old = sealed(&user, "inside", "old");
    let signed = user.post("/v1/keys/signer/sign", &json!({ "message": base64("m") })).ok();
    let claim = json!({ "message": base64("m"), "signature": signed["signature"] });
    assert_eq!(user.post("/v1/keys/signer/verify", &claim).ok()["valid"], json!(true));
    used_while_the_worker_dies(&production, &up);
    let _ = keeper.post("/v1/keys/inside/rotate", &json!({ "reason": "its time is over" })).ok();
    assert_eq!(token.try_to_export(), (4, 0));
    let new = sealed(&user, "inside", "new");
    drop((keeper, user));
    assert!(up.server.terminate().success());
    let up = production.start();
    let user = up.api("data", &production.people.user);
    assert_eq!((opened(&user, &old), opened(&user, &new)), ("old".to_owned(), "new".to_owned()));
    // Taken out, the server says so; what needs no device goes on, with keys that it found before.
    assert_eq!(user.post("/v1/keys/signer/verify", &claim).ok()["valid"], json!(true));
    token.take_out();
    for worker in workers(up.server.pid()) {
        rustix::process::kill_process(Pid::from_raw(i32::try_from(worker).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    user.post("/v1/decrypt", &json!({ "ciphertext": old })).refused(503, "root-unavailable");
    assert_eq!(user.post("/v1/keys/signer/verify", &claim).ok()["valid"], json!(true));
    token.put_back();
    assert!(wait_until(Duration::from_secs(30), || ready(&up)));
    assert_eq!(opened(&user, &old), "old");
    drop(user);
    assert!(up.server.terminate().success());
}

#[test]
fn a_destroyed_key_is_gone_from_the_module() {
    let (Some(token), Some(library)) = (Softhsm::start(), clock_mover()) else {
        return not_run("there is no faketime");
    };
    let home = tempfile::tempdir().unwrap();
    let mut production = prepared(home.path(), &token);
    let up = production.start();
    initialise(&mut production, &up);
    let operator = up.api("admin", &production.people.operator);
    let body = json!({ "principal": "keeper", "seconds": 60 * 86_400 });
    let lasting = operator.post("/v1/tokens", &body).ok()["token"].as_str().unwrap().to_owned();
    let keeper = up.api("data", &production.people.keeper);
    made_inside(&keeper);
    let _ = keeper.post("/v1/keys/inside/rotate", &json!({ "reason": "one more" })).ok();
    assert_eq!(token.try_to_export(), (4, 0));
    let waiting = json!({ "days": 7, "reason": "the contract ended" });
    let _ = keeper.post("/v1/keys/inside/schedule-destruction", &waiting).ok();
    drop((operator, keeper));
    assert!(up.server.terminate().success());

    let mut command = production.command();
    command.env("LD_PRELOAD", library).env("FAKETIME", "+8d");
    let up = production.wait(Server::spawn(&mut command));
    let keeper = up.api("all", &lasting);
    production.factors.get_mut("keeper").unwrap().show(&keeper, Duration::from_secs(8 * 86_400));
    let shown = || keeper.get("/v1/keys/inside/destruction");
    let told = |proof: &Value| proof["verified"].to_string().contains("the device of `main` was asked");
    assert!(wait_until(Duration::from_secs(60), || shown().status == 200 && told(&shown().ok())), "the key stays");
    assert_eq!(shown().ok()["versions"][1]["device"], "main");
    assert_eq!(token.try_to_export(), (2, 0), "the root and the other key");
    drop(keeper);
    assert!(up.server.terminate().success());
}
