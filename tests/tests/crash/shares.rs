//! kill -9 while the holders of shares exchange them for new ones, under load: after each crash one set of shares opens
//! the server, the new one if the exchange was acknowledged.

use keyreeve_tests::{Api, Cli, Layout, NoAnswer, Production};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::site::{Callers, Site, Started};

/// Who gets the shares; the third one never proves to have it, and somebody answers for that one.
const HOLDERS: [&str; 3] = ["alice", "bob", "carol"];
/// Shares that open the root.
const THRESHOLD: usize = 2;

/// A deployment whose shares are exchanged all the time.
struct SharesSite {
    production: Production,
    recipients: Vec<String>,
    /// Shares of every set that may be the present one, by its version.
    sets: BTreeMap<u64, Vec<String>>,
    /// The version that was last acknowledged, or opened the server.
    known: u64,
    /// How often another set was acknowledged, and how often a server opened with one that was not.
    exchanged: usize,
}

impl SharesSite {
    fn new(home: &Path) -> Self {
        let production = Production::prepare(home, &Layout::default());
        let recipients = HOLDERS.iter().map(|who| identity(home, who)).collect();
        Self { production, recipients, sets: BTreeMap::new(), known: 1, exchanged: 0 }
    }

    /// Opens it with the newest set that it takes. A set that was acknowledged is taken; of others nobody knows.
    fn unseal(&mut self, api: &Api) {
        let candidates: Vec<u64> = self.sets.keys().rev().copied().filter(|version| *version >= self.known).collect();
        for version in candidates {
            let shares = self.sets[&version].clone();
            let answers: Vec<_> = shares[..THRESHOLD]
                .iter()
                .map(|share| api.post("/v1/system/unseal", &json!({ "share": share })))
                .take_while(|answer| answer.status == 200)
                .collect();
            if answers.len() == THRESHOLD {
                assert_eq!(api.get("/v1/system/status").ok()["open"], true);
                self.known = version;
                self.sets.retain(|other, _| *other == version);
                return;
            }
            assert!(answers.is_empty() && version > self.known, "a share of set {version} is refused");
        }
        panic!("no set of shares opens the server, {} was acknowledged", self.known);
    }

    /// One exchange from its beginning, or from where a crash left it, to its end.
    fn exchange(&mut self, operator: &Api, cli: &Cli) -> Result<(), NoAnswer> {
        let found = operator.try_call(Method::GET, "/v1/roots/main/holders", &Value::Null)?.ok();
        if found["exchange"].is_object() && found["exchange"]["new"].is_null() {
            let body = json!({ "reason": "a crash came between" });
            let _ = operator.try_call(Method::POST, "/v1/roots/main/reshare/abandon", &body)?.ok();
        }
        if found["exchange"]["new"].is_null() {
            self.begin(operator)?;
        }
        let shown = operator.try_call(Method::GET, "/v1/roots/main/reshare", &Value::Null)?.ok();
        let texts = shown["shares"].as_array().unwrap().iter().zip(HOLDERS);
        let new: Vec<String> = texts.map(|(share, who)| decrypt(&self.production.home, who, &share["text"])).collect();
        let version = self.known + 1;
        if let Some(seen) = self.sets.insert(version, new.clone()) {
            assert_eq!(seen, new, "the shares that are handed out are others after a crash");
        }
        for share in &new[..THRESHOLD] {
            let proof = prove(cli, shown["challenge"].as_str().unwrap(), share);
            let taken = operator.try_call(Method::POST, "/v1/roots/main/proofs", &json!({ "proof": proof }))?.ok();
            assert_eq!(taken["version"], version);
        }
        let body = json!({ "confirmed": [HOLDERS[2]] });
        let done = operator.try_call(Method::POST, "/v1/roots/main/reshare/commit", &body)?.ok();
        assert_eq!(done["current"]["version"], version);
        self.known = version;
        self.exchanged += 1;
        Ok(())
    }

    fn begin(&mut self, operator: &Api) -> Result<(), NoAnswer> {
        // Whatever was handed out before and not committed is worth nothing now.
        self.sets.retain(|version, _| *version <= self.known);
        let holder =
            |(name, key): (&&str, &String)| json!({ "name": name, "key": key, "fingerprint": key, "contact": "desk" });
        let holders: Vec<Value> = HOLDERS.iter().zip(&self.recipients).map(holder).collect();
        let body = json!({ "threshold": THRESHOLD, "holders": holders, "reason": "campaign" });
        let _ = operator.try_call(Method::POST, "/v1/roots/main/reshare", &body)?.ok();
        for share in &self.sets[&self.known][..THRESHOLD] {
            let _ = operator.try_call(Method::POST, "/v1/roots/main/reshare/shares", &json!({ "share": share }))?.ok();
        }
        Ok(())
    }
}

impl Site for SharesSite {
    fn start(&mut self) -> Started {
        if self.sets.is_empty() {
            let up = self.production.start_new();
            self.sets.insert(1, self.production.shares.clone());
            return Started::new(&self.production, up);
        }
        let up = self.production.start();
        self.unseal(&up.endpoint("all").api());
        Started::new(&self.production, up)
    }

    fn besides<'a>(&'a mut self, people: &Callers) -> Box<dyn FnOnce() + Send + 'a> {
        let (operator, cli) = (people.operator.api(), Cli::new(&self.production.home));
        Box::new(move || while self.exchange(&operator, &cli).is_ok() {})
    }

    fn home(&self) -> &Path {
        &self.production.home
    }

    fn log_dir(&self) -> PathBuf {
        self.production.log_dir()
    }

    fn log_keys(&self) -> Vec<String> {
        self.production.log_keys.clone()
    }
}

fn output(command: &mut Command, stdin: &[u8]) -> String {
    use std::io::Write;
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A key for `age`: its recipient.
fn identity(home: &Path, who: &str) -> String {
    let file = output(&mut Command::new("age-keygen"), b"");
    std::fs::write(home.join(format!("{who}.key")), &file).unwrap();
    file.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}

/// The share that a holder reads.
fn decrypt(home: &Path, who: &str, text: &Value) -> String {
    let mut age = Command::new("age");
    age.args(["-d", "-i", &format!("{who}.key")]).current_dir(home);
    let said = output(&mut age, text.as_str().unwrap().as_bytes());
    said.lines().find(|line| line.starts_with("krs2-")).unwrap().to_owned()
}

fn prove(cli: &Cli, challenge: &str, share: &str) -> String {
    let proof = cli.run_with(&["share", "prove", "--challenge", challenge, "-"], share.as_bytes()).code(0);
    String::from_utf8(proof.stdout.clone()).unwrap().trim().to_owned()
}

/// Tests that need a holder's program.
mod age_and_gpg {
    use super::*;
    use crate::campaign::Campaign;
    use crate::{rounds, tell};
    use keyreeve_tests::Chance;

    #[test]
    fn one_set_of_shares_opens_after_every_crash() {
        let seed = Chance::seed();
        tell(&format!("KEYREEVE_TEST_SEED={seed}"));
        let home = tempfile::tempdir().unwrap();
        let mut campaign = Campaign::new(SharesSite::new(home.path()), seed);
        campaign.run((rounds() / 4).max(1));
        assert!(campaign.site.exchanged > 0, "no exchange came to its end in any round");
        tell(&format!("{} exchanges were acknowledged", campaign.site.exchanged));
    }
}
