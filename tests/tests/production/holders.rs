//! Shares that are encrypted to their holders, read by the holders' own programs; proofs; an exchange of all shares.

use keyreeve_tests::{Cli, Layout, Production, Up};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// Programs of others that holders use: `age` and GnuPG.
mod age_and_gpg {
    use super::*;
    use std::process::{Command, Stdio};

    /// Keys of holders, in a directory of theirs.
    struct Keys {
        home: PathBuf,
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            let _ = self.gpg("gpgconf", &["--kill", "all"]).status();
        }
    }

    fn output(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    impl Keys {
        fn new(home: &Path) -> Self {
            let keys = Self { home: home.to_owned() };
            std::fs::create_dir(home.join("gnupg")).unwrap();
            std::fs::set_permissions(home.join("gnupg"), std::fs::Permissions::from_mode(0o700)).unwrap();
            keys
        }

        fn gpg(&self, program: &str, arguments: &[&str]) -> Command {
            let mut command = Command::new(program);
            command.args(arguments).env("GNUPGHOME", self.home.join("gnupg")).current_dir(&self.home);
            command
        }

        /// A key for `age`: its recipient.
        fn age(&self, who: &str) -> String {
            let file = output(&mut Command::new("age-keygen"), b"");
            std::fs::write(self.home.join(format!("{who}.key")), &file).unwrap();
            let file = String::from_utf8(file).unwrap();
            file.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
        }

        /// A key for `gpg`, as it makes them unless told otherwise, or of this algorithm: the argument for `--holder`.
        fn openpgp(&self, who: &str, (primary, subkey): (&str, &str)) -> String {
            let mail = format!("{who}@example.test");
            let quiet = ["--batch", "--quiet", "--passphrase", ""];
            let make = [&quiet[..], &["--quick-generate-key", &mail, primary, "cert", "never"]].concat();
            let _ = output(&mut self.gpg("gpg", &make), b"");
            let listed = output(&mut self.gpg("gpg", &["--batch", "--with-colons", "--list-keys", &mail]), b"");
            let listed = String::from_utf8(listed).unwrap();
            let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
            let fingerprint = line.split(':').nth(9).unwrap();
            let add = [&quiet[..], &["--quick-add-key", fingerprint, subkey, "encr", "never"]].concat();
            let _ = output(&mut self.gpg("gpg", &add), b"");
            let certificate = output(&mut self.gpg("gpg", &["--batch", "--armor", "--export", &mail]), b"");
            std::fs::write(self.home.join(format!("{who}.asc")), certificate).unwrap();
            format!("{who}=@{who}.asc#{fingerprint}")
        }

        /// What a holder reads in a file.
        fn read(&self, who: &str, file: &str) -> Vec<u8> {
            if file.ends_with(".age") {
                let mut age = Command::new("age");
                age.arg("-d").arg("-i").arg(format!("{who}.key")).arg(file).current_dir(&self.home);
                return output(&mut age, b"");
            }
            output(&mut self.gpg("gpg", &["--batch", "--quiet", "--decrypt", file]), b"")
        }
    }

    /// The challenge answered with a share, and handed in.
    fn prove(cli: &Cli, challenge: &str, share: &[u8]) -> Value {
        let proof = cli.run_with(&["share", "prove", "--challenge", challenge, "-"], share).code(0);
        let proof = String::from_utf8(proof.stdout.clone()).unwrap();
        cli.json(&["root", "verify-share", proof.trim()])
    }

    /// A deployment whose shares were encrypted to alice (age), bob (Curve25519) and carol (RSA); what init told.
    fn initialised(production: &mut Production, up: &Up, keys: &Keys) -> Value {
        let cli = production.cli(up, "");
        let alice = format!("alice={}", keys.age("alice"));
        let (bob, carol) = (keys.openpgp("bob", ("ed25519", "cv25519")), keys.openpgp("carol", ("rsa3072", "rsa3072")));
        let holders = ["--holder", &alice, "--holder", &bob, "--holder", &carol];
        let wrong = bob.replace("bob=@bob.asc", "bob=@carol.asc");
        let refused = [&["init", "--out-dir", "no"], &holders[..2], &["--holder", &wrong]].concat();
        assert!(cli.run(&refused).code(2).stderr.contains("its fingerprint is"));
        let made = cli.json(&[&["init", "--threshold", "2", "--out-dir", "ceremony"], &holders[..]].concat());
        let token = std::fs::read_to_string(production.home.join("ceremony/token")).unwrap();
        production.people.operator = token.trim().to_owned();
        production.populate(up);
        made
    }

    #[test]
    fn shares_are_read_by_their_holders_proved_and_exchanged() {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::new(home.path());
        let mut production = Production::prepare(home.path(), &Layout::default());
        let up = production.start();
        let made = initialised(&mut production, &up, &keys);
        let files = ["ceremony/share-1-alice.age", "ceremony/share-2-bob.asc", "ceremony/share-3-carol.asc"];
        for file in files {
            let written = std::fs::read_to_string(home.path().join(file)).unwrap();
            assert!(written.starts_with("-----BEGIN ") && !written.contains("krs2-"), "{written}");
        }
        let cli = production.cli(&up, &production.people.operator);
        let old: Vec<Vec<u8>> =
            ["alice", "bob", "carol"].iter().zip(files).map(|(who, file)| keys.read(who, file)).collect();
        assert!(String::from_utf8_lossy(&old[1]).starts_with("# Keyreeve share 2 of 3; 2 are needed\n"));
        let shown = cli.run_with(&["share", "show", "--output", "json", "-"], &old[2]).code(0);
        assert!(!shown.text().contains("krs2-"));
        let shown = shown.json();
        assert_eq!((&shown["share"], &shown["shares"], &shown["version"]), (&3.into(), &3.into(), &1.into()));
        let proved = prove(&cli, text(&made, "challenge"), &old[1]);
        assert_eq!((&proved["share"], text(&proved, "holder")), (&2.into(), "bob"));
        let holders = cli.json(&["root", "holders"]);
        assert!(
            holders["current"]["holders"][1]["proved"].is_string()
                && holders["current"]["holders"][0]["proved"].is_null()
        );
        let new = exchanged(&cli, &keys, &old);
        assert!(up.server.terminate().success());
        reopened(&production, &old, &new);
    }

    /// Carol is gone: alice, bob and dave get new shares. Two of the present ones agree.
    fn exchanged(cli: &Cli, keys: &Keys, old: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let holders = "[[holder]]\nname = 'alice'\nage = 'ALICE'\n\n[[holder]]\nname = 'bob'\nopenpgp = 'bob.asc'\n\
            fingerprint = 'BOB'\n\n[[holder]]\nname = 'dave'\norganisation = 'Example'\nage = 'DAVE'\n";
        let bob = cli.json(&["root", "holders"])["current"]["holders"][1]["recipient"]["fingerprint"].clone();
        let holders = holders.replace("ALICE", &keys.age("alice")).replace("DAVE", &keys.age("dave"));
        let holders = holders.replace("BOB", bob.as_str().unwrap());
        std::fs::write(keys.home.join("holders.toml"), holders).unwrap();
        let begin = ["root", "reshare", "begin", "--threshold", "2", "--reason", "carol left"];
        let _ = cli.json(&[&begin[..], &["--holders-file", "holders.toml"]].concat());
        // Those of before: they are kept until they have opened the root.
        let _ = cli.run(&["root", "reshare", "show"]).code(0);
        for share in [&old[0], &old[1]] {
            let _ = cli.run_with(&["root", "reshare", "give", "-"], share).code(0);
        }
        let shown = cli.json(&["root", "reshare", "show", "--out-dir", "new"]);
        let files: Vec<&str> = shown["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        assert_eq!(files, ["new/share-1-alice.age", "new/share-2-bob.asc", "new/share-3-dave.age"]);
        let new: Vec<Vec<u8>> =
            ["alice", "bob", "dave"].iter().zip(&files).map(|(who, file)| keys.read(who, file)).collect();
        let alone = ["root", "reshare", "commit", "--confirm", "alice", "--confirm", "bob", "--confirm", "dave"];
        let refused = cli.run(&alone).code(5);
        assert!(refused.stderr.contains("2 are needed to open"), "{refused}");
        for share in &new[..2] {
            assert_eq!(prove(cli, text(&shown, "challenge"), share)["version"], 2);
        }
        let early = cli.run(&["root", "reshare", "commit"]).code(5);
        assert!(early.stderr.contains("dave"), "{early}");
        let done = cli.run(&["root", "reshare", "commit", "--confirm", "dave", "--output", "json"]).code(0);
        assert!(done.stderr.contains("still give the root key"), "{done}");
        assert_eq!(done.json()["current"]["version"], 2);
        new
    }

    /// The former shares are told from others, the new ones open.
    fn reopened(production: &Production, old: &[Vec<u8>], new: &[Vec<u8>]) {
        let up = production.start();
        let cli = production.cli(&up, &production.people.operator);
        let refused = cli.run_with(&["unseal", "-"], &old[0]).code(2);
        assert!(refused.stderr.contains("version 1") && refused.stderr.contains("version 2 opens"), "{refused}");
        // Dave's is as good as the others, though somebody answered for it.
        for share in &new[1..] {
            let _ = cli.run_with(&["unseal", "-"], share).code(0);
        }
        let _ = cli.run(&["status"]).code(0);
        assert_eq!(cli.json(&["root", "holders"])["current"]["threshold"], 2);
    }
}
