//! kill -9 while everything moves from one root of trust to another and back, under load: nothing is lost, every move
//! comes to its end, and the root that was left is needed no more.

use keyreeve_tests::{Layout, NoAnswer, Production, Softhsm, wait_until};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::site::{Callers, Site, Started};

/// A server that starts without people is open within this time.
const OPENS: Duration = Duration::from_secs(60);

/// A deployment over two tokens: the root `main` and the root `second`.
struct MovingSite {
    production: Production,
    tokens: [Softhsm; 2],
    /// How often everything was moved to the end without a crash.
    moved: usize,
}

impl MovingSite {
    fn new(home: &Path, tokens: [Softhsm; 2]) -> Self {
        let second = format!("[roots.second]\n{}", tokens[1].root());
        let production = Production::prepare(home, &Layout { more: second, ..Layout::default() });
        let text = std::fs::read_to_string(&production.config).unwrap();
        let main = format!("[root]\n{}", tokens[0].root());
        let with_token = text.replace("[root]\nkind = \"shamir\"\n", &main);
        assert_ne!(text, with_token);
        std::fs::write(&production.config, with_token).unwrap();
        Self { production, tokens, moved: 0 }
    }

    /// The second root is one of the deployment's from the beginning.
    fn initialise(&mut self) -> keyreeve_tests::Up {
        let up = self.production.start();
        let made = up.endpoint("all").api().post("/v1/system/init", &json!({})).ok();
        self.production.people.operator = made["token"].as_str().unwrap().to_owned();
        self.production.log_keys =
            made["log_vkeys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
        self.production.populate(&up);
        let operator = up.api("all", &self.production.people.operator);
        let _ = operator.post("/v1/roots", &json!({ "name": "second", "reason": "campaign" })).ok();
        up
    }

    /// The configuration without the second root, whose token is gone for good.
    fn lose_the_second_token(&self) {
        let text = std::fs::read_to_string(&self.production.config).unwrap();
        let (without, _) = text.split_once("[roots.second]").unwrap();
        std::fs::write(&self.production.config, without).unwrap();
        self.tokens[1].take_out();
    }
}

impl Site for MovingSite {
    fn start(&mut self) -> Started {
        let is_new = self.production.people.operator.is_empty();
        let up = if is_new { self.initialise() } else { self.production.start() };
        let status = up.endpoint("all").api();
        let opened = wait_until(OPENS, || status.get("/v1/system/status").ok()["open"] == true);
        assert!(opened, "the server does not open by itself after a crash: {}", up.server.log());
        Started::new(&self.production, up)
    }

    fn besides<'a>(&'a mut self, people: &Callers) -> Box<dyn FnOnce() + Send + 'a> {
        let keeper = people.keeper.api();
        Box::new(move || {
            let mut to_second = true;
            while move_all(&keeper, to_second).is_ok() {
                to_second = !to_second;
                self.moved += 1;
            }
        })
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

/// Moves everything to one of the two roots; waits for its turn while another job is at work.
fn move_all(keeper: &keyreeve_tests::Api, to_second: bool) -> Result<(), NoAnswer> {
    let (from, to) = if to_second { ("main", "second") } else { ("second", "main") };
    let body = json!({ "from": from, "to": { "roots": [to] }, "reason": "campaign" });
    loop {
        let answer = keeper.try_call(Method::POST, "/v1/roots/migrate", &body)?;
        if answer.status != 409 {
            let job = answer.ok();
            return wait_for(keeper, job["id"].as_str().unwrap());
        }
        assert_eq!(answer.json()["code"], "wrong-state", "{answer}");
    }
}

fn wait_for(keeper: &keyreeve_tests::Api, job: &str) -> Result<(), NoAnswer> {
    loop {
        let answer = keeper.try_call(Method::GET, &format!("/v1/jobs/{job}"), &Value::Null)?;
        if answer.ok()["state"] != "running" {
            return Ok(());
        }
    }
}

/// Tests that need a token.
mod softhsm {
    use super::*;
    use crate::campaign::Campaign;
    use crate::{rounds, tell};
    use keyreeve_tests::Chance;

    #[test]
    fn everything_moves_between_roots_and_nothing_is_lost() {
        let (Some(first), Some(second)) = (Softhsm::start(), Softhsm::start()) else { return };
        let seed = Chance::seed();
        tell(&format!("KEYREEVE_TEST_SEED={seed}"));
        let home = tempfile::tempdir().unwrap();
        let mut campaign = Campaign::new(MovingSite::new(home.path(), [first, second]), seed);
        campaign.run((rounds() / 4).max(1));
        tell(&format!("{} moves came to their end", campaign.site.moved));
        let started = campaign.site.start();
        let keeper = started.people.keeper.api();
        move_all(&keeper, false).unwrap();
        let operator = started.people.operator.api();
        let _ = operator.post("/v1/roots/second/retire", &json!({ "reason": "the campaign is over" })).ok();
        assert!(started.stop().success());
        campaign.site.lose_the_second_token();
        let started = campaign.site.start();
        campaign.check_callers(&started, true);
        assert!(started.stop().success());
    }
}
