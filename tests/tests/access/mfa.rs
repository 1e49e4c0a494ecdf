//! Second factors at the command line, with the codes of another program.

mod oathtool {
    use keyreeve_tests::{Cli, Dev, Done};
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    /// A development server with people who need second factors.
    struct Office {
        dev: Dev,
        cli: Cli,
        home: tempfile::TempDir,
    }

    /// What oathtool says the code is, so many seconds from now. None, said aloud, where there is no such program.
    fn code(seed: &str, ahead: u32) -> Option<String> {
        let at = format!("now + {ahead} seconds");
        let output = Command::new("oathtool").args(["--totp", "--base32", "--now", &at, seed]).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            keyreeve_tests::not_run("there is no oathtool to make codes with");
            return None;
        };
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn text(value: &Value, name: &str) -> String {
        value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
    }

    impl Office {
        /// With a policy of its own that demands a second factor of key administrators.
        fn open() -> Self {
            let home = tempfile::tempdir().unwrap();
            let dev = Dev::start(home.path());
            let policy = "forbid (principal in Keyreeve::Role::\"key-admin\", action, resource) \
                unless { action in Keyreeve::Action::\"self\" } \
                unless { context has mfa_age_seconds && context.mfa_age_seconds <= 43200 };";
            let api = dev.api();
            let _ = api.put("/v1/policies/need-mfa", &json!({ "text": policy })).ok();
            let keeper = json!({ "kind": "person", "roles": ["key-admin"] });
            let _ = api.put("/v1/principals/keeper", &keeper).ok();
            let cli = dev.cli();
            let _ = cli.ok(&["token", "create", "keeper", "--for", "1h", "-o", "keeper.token"]);
            Self { dev, cli, home }
        }

        fn keeper(&self, words: &[&str], stdin: &str) -> Done {
            let who = ["--profile", ".keyreeve-dev/client.toml", "--token-file", "keeper.token"];
            self.cli.run_with(&[&who, words].concat(), stdin.as_bytes())
        }

        fn invitation(&self) {
            let invited = self.cli.json(&["mfa", "invite", "keeper", "--for", "1h"]);
            let path = self.home.path().join("invitation");
            std::fs::write(&path, text(&invited, "code")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        }

        fn enrol(&self, more: &[&str]) -> (String, String) {
            let words = ["mfa", "totp", "--label", "phone", "--invitation-file", "invitation", "--output", "json"];
            let started = self.keeper(&[&words, more].concat(), "").code(0).json();
            (text(&started, "id"), text(&started, "seed"))
        }
    }

    #[test]
    fn somebody_is_invited_enrols_and_may_do_more_once_the_factor_was_shown() {
        let Some(_) = code("GEZDGNBVGY3TQOJQ", 0) else { return };
        let office = Office::open();
        let refused = office.keeper(&["key", "create"], "").code(3);
        assert!(refused.stderr.contains("keyreeve mfa verify"), "{refused}");
        // A first factor needs an invitation: nobody enrols one with a token alone once somebody else has one.
        let own = office.cli.json(&["mfa", "totp"]);
        let confirm = ["mfa", "confirm", &text(&own, "id")];
        let _ = office.cli.run_with(&confirm, code(&text(&own, "seed"), 0).unwrap().as_bytes()).code(0);
        let _ = office.keeper(&["mfa", "totp"], "").code(5);
        office.invitation();
        let (id, seed) = office.enrol(&[]);
        let _ = office.keeper(&["key", "create"], "").code(3);
        let wrong = office.keeper(&["mfa", "confirm", &id], "000000").code(3);
        assert!(wrong.stderr.contains("not right"), "{wrong}");
        let _ = office.keeper(&["mfa", "confirm", &id], &code(&seed, 0).unwrap()).code(0);
        let _ = office.keeper(&["key", "create"], "").code(0);
        let shown = office.keeper(&["mfa", "status"], "").code(0).text();
        assert!(shown.contains("phone") && shown.contains("totp"), "{shown}");
        // Reset by somebody else: the proof is gone from the token too.
        let _ = office.cli.ok(&["mfa", "reset", "keeper"]);
        let _ = office.keeper(&["key", "create"], "").code(3);
    }

    #[test]
    fn a_code_works_once_whichever_token_it_comes_with() {
        let Some(_) = code("GEZDGNBVGY3TQOJQ", 0) else { return };
        for more in [&[][..], &["--sha256"]] {
            let office = Office::open();
            office.invitation();
            let (id, seed) = office.enrol(more);
            let next = |ahead| match more {
                [] => code(&seed, ahead).unwrap(),
                _ => sha256(&seed, ahead),
            };
            let first = next(0);
            let _ = office.keeper(&["mfa", "confirm", &id], &first).code(0);
            let _ = office.keeper(&["mfa", "verify"], &first).code(3);
            let second = next(30);
            let _ = office.keeper(&["mfa", "verify"], &second).code(0);
            let replayed = office.keeper(&["mfa", "verify"], &second).code(3);
            assert!(replayed.stderr.contains("used before"), "{replayed}");
            let _ = office.cli.ok(&["token", "create", "keeper", "--for", "1h", "-o", "other.token", "--force"]);
            let other = ["--profile", ".keyreeve-dev/client.toml", "--token-file", "other.token", "mfa", "verify"];
            let _ = office.cli.run_with(&other, second.as_bytes()).code(3);
            // Of another time altogether.
            let _ = office.keeper(&["mfa", "verify"], &next(3600)).code(3);
            assert!(office.dev.api().get("/v1/principals/keeper/mfa").ok()["factors"][0]["usable"].as_bool().unwrap());
        }
    }

    fn sha256(seed: &str, ahead: u32) -> String {
        let at = format!("now + {ahead} seconds");
        let arguments = ["--totp=SHA256", "--base32", "--now", &at, seed];
        let output = Command::new("oathtool").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}
