//! Ways around rules that `rules check` warns of.

use super::*;
use keyreeve_engine::ops::rules::{Check, Lint};

const GUARD: &str = "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n";

/// A rule that asks the CISO.
fn rule(name: &str, operations: &[&str], more: &str) -> String {
    format!("[[rule]]\nname = {name:?}\noperations = {operations:?}\nseats = [{{ role = \"ciso\" }}]\n{more}\n")
}

impl Council {
    async fn lints(&self, rules: &str) -> Vec<Lint> {
        self.house.ask(Check { text: format!("{GUARD}{rules}") }).await.lints
    }

    /// The rules of one kind of remark.
    async fn named(&self, lint: &str, rules: &str) -> Vec<String> {
        let found = self.lints(rules).await.into_iter().filter(|found| found.name == lint);
        found.map(|found| found.rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).collect()
    }
}

#[tokio::test]
async fn of_the_shipped_rules_only_roles_that_nobody_has_are_told() {
    let council = Council::gathered().await;
    let text = council.house.ask(rules::Describe).await.book.rules.to_toml();
    let found = council.house.ask(Check { text }).await.lints;
    assert!(found.iter().all(|lint| lint.name == "role-of-nobody"), "{found:#?}");
    let told: Vec<&str> = found.iter().map(|lint| lint.text.as_str()).collect();
    assert!(told.iter().any(|text| text.starts_with("nobody has the role `dpo`")), "{told:#?}");
    assert!(!told.iter().any(|text| text.contains("`ciso`")), "{told:#?}");
}

#[tokio::test]
async fn conditions_that_one_person_brings_about_are_told() {
    let council = Council::gathered().await;
    let at_night = rule("night", &["key.rotate"], "when = 'context.items > 2'");
    assert_eq!(council.named("chosen-circumstances", &at_night).await, ["night"]);
    let juniors = rule("juniors", &["key.rotate"], "when = 'principal.hasTag(\"junior\")'");
    assert_eq!(council.named("some-askers", &juniors).await, ["juniors"]);
    let active = rule("active", &["key.schedule-destruction"], "when = 'resource.state == \"active\"'");
    assert_eq!(council.named("moving-state", &active).await, ["active"]);
    let weak = format!(
        "{}[[rule]]\nname = \"weak\"\noperations = [\"key.rotate\"]\noverrides = [\"strong\"]\nseats = []\n\
         when = 'resource.hasTag(\"test\")'\n",
        rule("strong", &["key.rotate"], "")
    );
    assert_eq!(council.named("weaker-override", &weak).await, ["strong weak"]);
    let for_some = weak.replace("when = 'resource", "when = 'principal in Keyreeve::Role::\"ciso\" && resource");
    assert!(council.named("weaker-override", &for_some).await.is_empty());
    // A label on its own is no way around: whoever alters it needs the same consent.
    let label = rule("labelled", &["key.schedule-destruction"], "when = 'resource.hasTag(\"test\")'");
    for lint in council.lints(&label).await {
        assert!(["some-of-many", "made-alone"].contains(&lint.name), "{lint:?}");
    }
}

#[tokio::test]
async fn operations_that_do_the_same_and_are_left_out_are_told() {
    let council = Council::gathered().await;
    let destroy = rule("destroy", &["key.schedule-destruction"], "");
    let found = council.lints(&destroy).await;
    let family = found.iter().find(|lint| lint.name == "some-of-many").unwrap();
    assert!(family.text.contains("not to `principal.delete`, `policy.delete`, `login-method.delete`"), "{family:?}");
    let alone: Vec<&str> =
        found.iter().filter(|lint| lint.name == "made-alone").map(|lint| lint.text.as_str()).collect();
    assert_eq!(alone.len(), 7, "{alone:#?}");
    // What holds for credentials holds for tokens.
    for (operation, free) in [("credential.issue", 5), ("token.create", 6), ("mfa.invite", 6)] {
        let found = council.named("made-alone", &rule("guard", &[operation], "")).await;
        assert_eq!(found.len(), free, "{operation}");
    }
    let all = ["key.schedule-destruction", "principal.delete", "policy.delete", "login-method.delete"];
    let found = council.named("some-of-many", &rule("destroy", &all, "")).await;
    assert_eq!(found, ["destroy", "destroy"], "of policies and of login methods some are left");
}

#[tokio::test]
async fn people_who_count_as_two_are_told() {
    let council = Council::gathered().await;
    let house = &council.house;
    let of = |text: &str, person: &str, role: &str| {
        principals::Put::new(principals::PutSpec { person: Some(label(person)), ..House::person(text, &[role]) })
    };
    house.ask(of("deputy", "carl", "key-admin")).await;
    assert!(council.named("one-person-twice", &rule("r", &["key.rotate"], "")).await.is_empty());
    house.ask(of("carl", "carl-in-the-directory", "ciso")).await;
    house.ask(of("third", "deputy", "operator")).await;
    let found = council.lints(&rule("r", &["policy.put"], "")).await;
    let texts: Vec<&str> = found.iter().filter(|l| l.name == "one-person-twice").map(|l| l.text.as_str()).collect();
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(texts[0].starts_with("`carl` could consent to what `third` asks for"), "{texts:?}");
}
