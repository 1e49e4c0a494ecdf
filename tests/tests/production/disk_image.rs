//! Keys that can be recognised are brought in and used; then what others may get hold of is searched for them: the disk
//! as a power cut leaves it, blocks of removed files included, a dump of the database, a backup.

use keyreeve_tests::{Cli, Layout, Production, Up};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

use crate::canaries::{Findings, use_everything, without_blanks};

/// What must be found, or the search finds nothing at all.
const FINDABLE: &str = "an-alias-that-is-no-secret";

/// Brings keys in whose material is known here, and uses and rotates them.
fn bring_keys(found: &mut Findings, keeper: &Cli, up: &Up, production: &Production) {
    for (number, algorithm) in ["xaes-256-gcm", "aes-256-gcm", "hmac-sha256"].into_iter().enumerate() {
        let material: Vec<u8> = (0..32).map(|place| 0x91 ^ (place * 7) ^ (number as u8 * 31)).collect();
        found.canary(&format!("the material of {algorithm}"), &material);
        std::fs::write(keeper.home().join("material"), &material).unwrap();
        let parameters = ["key", "import-parameters", "--algorithm", algorithm, "-o", "parameters.json", "--force"];
        let _ = keeper.ok(&parameters);
        let _ = keeper.ok(&["key", "wrap-for-import", "parameters.json", "material", "-o", "wrapped", "--force"]);
        let alias = format!("{FINDABLE}-{number}");
        let import = [
            "key",
            "import",
            "parameters.json",
            "--wrapped",
            "wrapped",
            "--alias",
            &alias,
            "--statement",
            "a test made it",
        ];
        let _ = keeper.ok(&import);
        let user = up.api("data", &production.people.user);
        let verb = if algorithm == "hmac-sha256" { ("mac", "message") } else { ("encrypt", "plaintext") };
        let body = serde_json::json!({ verb.1: keyreeve_tests::base64("used") });
        let _ = user.post(&format!("/v1/keys/{alias}/{}", verb.0), &body).ok();
        let _ = keeper.ok(&["key", "rotate", &alias, "--reason", "a test"]);
    }
    use_everything(found, &up.api("admin", &production.people.keeper), &up.api("data", &production.people.user));
}

/// A server with the keys in it, and a backup made of it into `backups` of its directory.
fn used(home: &Path, postgres: Option<String>) -> (Findings, Up) {
    let more = "[backup]\nevery_hours = 0\nverify_hours = 0\n[backup.destinations.vault]\nkind = \"directory\"\n\
                path = \"backups\"\n";
    let layout = Layout { postgres, more: more.to_owned(), ..Layout::default() };
    let (mut production, mut found) = (Production::prepare(home, &layout), Findings::default());
    let up = production.start_new();
    found.credentials(&production);
    let elsewhere = tempfile::tempdir().unwrap();
    let keeper = production.cli_in(elsewhere.path(), &up, &production.people.keeper);
    bring_keys(&mut found, &keeper, &up, &production);
    let operator = production.cli_in(elsewhere.path(), &up, &production.people.operator);
    let made: Value = operator.json(&["backup", "create"]);
    assert_eq!(made["backup"], 1, "{made}");
    (found, up)
}

fn search(found: &Findings, place: &str, bytes: &[u8]) {
    let bytes = without_blanks(bytes);
    assert!(bytes.windows(FINDABLE.len()).any(|window| window == FINDABLE.as_bytes()), "{place} holds nothing");
    found.search(place, &bytes);
}

mod mounted {
    use super::*;
    use keyreeve_tests::not_run;

    /// Set in the process that has a mount namespace of its own.
    const INSIDE: &str = "KEYREEVE_TEST_INSIDE";

    fn does(script: &str) -> bool {
        Command::new("sh").args(["-c", script]).status().is_ok_and(|status| status.success())
    }

    /// The server is killed, the disk is taken out: no key is on it, nor any token, share, seed or plaintext. What is
    /// mounted for that is seen by nobody else, and gone with the process that did it.
    #[test]
    fn a_disk_that_was_taken_out_holds_no_key() {
        if std::env::var_os(INSIDE).is_some() {
            return inside();
        }
        if !rustix::process::geteuid().is_root() || !does("unshare -m true") {
            not_run("file systems cannot be mounted here");
            return;
        }
        let mut again = Command::new("unshare");
        again.arg("-m").arg(std::env::current_exe().unwrap());
        again.args(["disk_image::mounted::a_disk_that_was_taken_out_holds_no_key", "--exact", "--nocapture"]);
        assert!(again.env(INSIDE, "1").status().unwrap().success());
    }

    fn inside() {
        let place = tempfile::tempdir().unwrap();
        let (image, disk) = (place.path().join("image"), place.path().join("disk"));
        let (at, on) = (image.display(), disk.display());
        let script =
            format!("mkdir {on} && truncate -s 192M {at} && mke2fs -q -t ext4 {at} && mount -o loop {at} {on}");
        assert!(does(&script), "an image cannot be mounted");
        let (found, up) = used(&disk, None);
        up.server.kill();
        assert!(does(&format!("umount {on}")), "the disk is still in use");
        search(&found, "the disk", &std::fs::read(&image).unwrap());
        assert!(found.canaries.count() > 15);
    }
}

#[test]
fn a_dump_of_the_database_holds_no_key_on_postgres() {
    let Some(database) = keyreeve_tests::Database::make() else { return };
    let home = tempfile::tempdir().unwrap();
    let (found, up) = used(home.path(), Some(database.url()));
    let dump = Command::new("pg_dump").arg("--dbname").arg(database.url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    // Bytes are written in hexadecimal: the search knows keys in that spelling too.
    let needle: String = FINDABLE.bytes().map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8_lossy(&dump.stdout);
    assert!(text.contains(FINDABLE) || text.contains(&needle), "the dump holds nothing");
    found.search("the dump", &dump.stdout);
    assert!(up.server.terminate().success());
}

/// Aliases are sealed in a backup with everything else, so what is looked for is that it is there at all.
#[test]
fn a_backup_holds_no_key() {
    let home = tempfile::tempdir().unwrap();
    let (found, up) = used(home.path(), None);
    let mut bytes = 0;
    for entry in std::fs::read_dir(home.path().join("backups")).unwrap().flatten() {
        let object = std::fs::read(entry.path()).unwrap();
        found.search(&entry.path().display().to_string(), &object);
        bytes += object.len();
    }
    assert!(bytes > 10_000, "the backup holds nothing");
    assert!(up.server.terminate().success());
}
