//! From facts to a principal: the first binding that fits.

use keyreeve_model::Name;
use keyreeve_model::login::{Binding, PrincipalRule, SubjectRule};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What evidence says about somebody, after it was verified.
pub trait Facts {
    /// Who it is, as the other side names it.
    fn subject(&self) -> &str;

    /// The values at a path; none where the evidence does not say it, or not reliably.
    fn values(&self, path: &str) -> Vec<Cow<'_, str>>;

    /// For whom the evidence was made.
    fn audiences(&self) -> &[String] {
        &[]
    }
}

/// Whom a binding makes of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The binding that fitted.
    pub binding: Name,
    /// The principal.
    pub principal: Name,
    /// Roles of the session.
    pub roles: BTreeSet<Name>,
    /// Networks of the binding (CIDR); empty means any.
    pub networks: BTreeSet<String>,
}

/// The outcome of the first binding that fits, if one does.
#[must_use]
pub fn bind(bindings: &[Binding], facts: &dyn Facts) -> Option<Outcome> {
    bindings.iter().find_map(|binding| fit(binding, facts))
}

fn fit(binding: &Binding, facts: &dyn Facts) -> Option<Outcome> {
    let for_us = binding.audiences.is_empty() || facts.audiences().iter().any(|one| binding.audiences.contains(one));
    let said =
        binding.claims.iter().all(|(path, wanted)| facts.values(path).iter().any(|v| wanted.contains(v.as_ref())));
    if !for_us || !said || !subject_fits(&binding.subject, facts.subject()) {
        return None;
    }
    let principal = principal(&binding.principal, facts)?;
    let mut roles = binding.roles.clone();
    if !binding.role_from_group.is_empty() {
        let groups = facts.values(&binding.group_claim);
        roles.extend(groups.iter().filter_map(|group| binding.role_from_group.get(group.as_ref()).cloned()));
    }
    Some(Outcome { binding: binding.name.clone(), principal, roles, networks: binding.networks.clone() })
}

fn principal(rule: &PrincipalRule, facts: &dyn Facts) -> Option<Name> {
    match rule {
        PrincipalRule::Fixed(name) => Some(name.clone()),
        PrincipalRule::FromClaim { claim, strip, prefix } => {
            let values = facts.values(claim);
            let [value] = values.as_slice() else { return None };
            let rest = value.strip_prefix(strip.as_str()).filter(|rest| !rest.is_empty())?;
            let name: Name = format!("{prefix}{rest}").parse().ok()?;
            // These two are the server's own words for nobody and for itself.
            (!matches!(name.as_str(), "anonymous" | "system")).then_some(name)
        }
    }
}

/// Whether a subject is the one, or of the form, that a rule names.
#[must_use]
pub fn subject_fits(rule: &SubjectRule, subject: &str) -> bool {
    match rule {
        SubjectRule::Any => true,
        SubjectRule::Exact(text) => text == subject,
        SubjectRule::Glob(pattern) => glob(pattern, subject),
    }
}

/// Splits off the first part and the separator behind it.
fn part(text: &str) -> (&str, Option<(char, &str)>) {
    match text.find([':', '/']) {
        Some(at) => (&text[..at], text[at..].chars().next().map(|separator| (separator, &text[at + 1..]))),
        None => (text, None),
    }
}

/// Part by part, separators included: a star is never matched with a separator, so that nobody can put more parts into
/// a name than the pattern has.
fn glob(pattern: &str, subject: &str) -> bool {
    let (wanted, more) = part(pattern);
    if wanted == "**" && more.is_none() {
        return !subject.is_empty() && !subject.contains(':') && !subject.split('/').any(str::is_empty);
    }
    let (given, rest) = part(subject);
    let fits = if wanted == "*" { !given.is_empty() } else { wanted == given };
    match (more, rest) {
        _ if !fits => false,
        (None, None) => true,
        (Some((one, pattern)), Some((other, subject))) => one == other && glob(pattern, subject),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Said {
        subject: String,
        values: BTreeMap<String, Vec<String>>,
        audiences: Vec<String>,
    }

    impl Facts for Said {
        fn subject(&self) -> &str {
            &self.subject
        }

        fn values(&self, path: &str) -> Vec<Cow<'_, str>> {
            self.values.get(path).into_iter().flatten().map(|value| value.as_str().into()).collect()
        }

        fn audiences(&self) -> &[String] {
            &self.audiences
        }
    }

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn said(subject: &str, values: &[(&str, &[&str])]) -> Said {
        let values = values.iter().map(|(path, values)| ((*path).to_owned(), texts(values))).collect();
        Said { subject: subject.into(), values, audiences: texts(&["keyreeve", "other"]) }
    }

    fn binding(name: &str, subject: SubjectRule, principal: PrincipalRule) -> Binding {
        Binding {
            name: name.parse().unwrap(),
            subject,
            claims: BTreeMap::new(),
            audiences: BTreeSet::new(),
            principal,
            roles: BTreeSet::new(),
            group_claim: "groups".into(),
            role_from_group: BTreeMap::new(),
            networks: BTreeSet::new(),
        }
    }

    fn fixed(name: &str) -> PrincipalRule {
        PrincipalRule::Fixed(name.parse().unwrap())
    }

    fn from_claim(claim: &str, strip: &str, prefix: &str) -> PrincipalRule {
        PrincipalRule::FromClaim { claim: claim.into(), strip: strip.into(), prefix: prefix.into() }
    }

    fn fits(pattern: &str, subject: &str) -> bool {
        subject_fits(&SubjectRule::Glob(pattern.into()), subject)
    }

    #[test]
    fn a_star_is_one_whole_part() {
        assert!(fits("system:serviceaccount:prod:*", "system:serviceaccount:prod:web"));
        for other in [
            "system:serviceaccount:prod:",
            "system:serviceaccount:prod",
            "system:serviceaccount:prod:web:x",
            "system:serviceaccount:prod:web/x",
            "system:serviceaccount:production:web",
            "system/serviceaccount:prod:web",
            "xsystem:serviceaccount:prod:web",
        ] {
            assert!(!fits("system:serviceaccount:prod:*", other), "{other}");
        }
        assert!(fits("repo:octo/*:ref:refs/heads/**", "repo:octo/app:ref:refs/heads/feature/x"));
        assert!(!fits("repo:octo/*:ref:refs/heads/**", "repo:octo-evil/app:ref:refs/heads/main"));
        assert!(!fits("repo:octo/*:ref:refs/heads/**", "repo:octo/app:ref:refs/heads/main:x"));
        assert!(!fits("repo:octo/*:ref:refs/heads/**", "repo:octo/app:ref:refs/heads/"));
        assert!(fits("spiffe://prod.example/ns/*/sa/web", "spiffe://prod.example/ns/a/sa/web"));
        assert!(!fits("spiffe://prod.example/**", "spiffe://prod.example.evil/x"));
        assert!(fits("*", "alice") && !fits("*", "alice:x") && !fits("*", ""));
    }

    #[test]
    fn the_first_binding_that_fits_counts() {
        let bindings = [
            binding("one", SubjectRule::Exact("bob".into()), fixed("robert")),
            binding("two", SubjectRule::Exact("alice".into()), fixed("alice")),
            binding("three", SubjectRule::Any, fixed("guest")),
        ];
        let who = |subject| bind(&bindings, &said(subject, &[])).unwrap().binding.to_string();
        assert_eq!((who("alice"), who("carol")), ("two".to_owned(), "three".to_owned()));
        assert_eq!(bind(&bindings[..2], &said("Alice", &[])), None);
    }

    #[test]
    fn every_claim_that_a_binding_names_must_fit() {
        let mut rule = binding("one", SubjectRule::Any, fixed("app"));
        rule.claims.insert("env".into(), BTreeSet::from(["prod".into(), "staging".into()]));
        rule.claims.insert("ref".into(), BTreeSet::from(["main".into()]));
        let fits = |values: &[(&str, &[&str])]| bind(std::slice::from_ref(&rule), &said("x", values)).is_some();
        assert!(fits(&[("env", &["dev", "prod"]), ("ref", &["main"])]));
        assert!(!fits(&[("env", &["dev"]), ("ref", &["main"])]));
        assert!(!fits(&[("env", &["prod"])]));
    }

    #[test]
    fn a_token_for_others_does_not_fit() {
        let mut rule = binding("one", SubjectRule::Any, fixed("app"));
        rule.audiences.insert("somebody-else".into());
        assert_eq!(bind(std::slice::from_ref(&rule), &said("x", &[])), None);
        rule.audiences.insert("keyreeve".into());
        assert!(bind(&[rule], &said("x", &[])).is_some());
    }

    #[test]
    fn names_from_claims_are_one_well_formed_name() {
        let name = |rule: PrincipalRule, values: &[(&str, &[&str])]| {
            let rules = [binding("one", SubjectRule::Any, rule)];
            bind(&rules, &said("x", values)).map(|outcome| outcome.principal.to_string())
        };
        let spiffe = from_claim("uri", "spiffe://prod/", "wl/");
        assert_eq!(name(spiffe.clone(), &[("uri", &["spiffe://prod/web"])]), Some("wl/web".into()));
        assert_eq!(name(spiffe.clone(), &[("uri", &["spiffe://other/web"])]), None);
        assert_eq!(name(spiffe.clone(), &[("uri", &["spiffe://prod/"])]), None);
        assert_eq!(name(spiffe.clone(), &[("uri", &["spiffe://prod/../root"])]), None);
        assert_eq!(name(spiffe, &[("uri", &["spiffe://prod/a", "spiffe://prod/b"])]), None);
        let plain = from_claim("name", "", "");
        for refused in ["", "a b", "key_1", "system", "anonymous", "é"] {
            assert_eq!(name(plain.clone(), &[("name", &[refused])]), None, "{refused:?}");
        }
    }

    #[test]
    fn groups_give_roles_besides_those_of_the_binding() {
        let mut rule = binding("one", SubjectRule::Any, fixed("alice"));
        rule.roles.insert("reader".parse().unwrap());
        rule.role_from_group.insert("crypto-admins".into(), "key-admin".parse().unwrap());
        rule.networks.insert("10.0.0.0/8".into());
        let outcome = bind(&[rule], &said("x", &[("groups", &["staff", "crypto-admins"])])).unwrap();
        let roles: Vec<&str> = outcome.roles.iter().map(Name::as_str).collect();
        assert_eq!(roles, ["key-admin", "reader"]);
        assert_eq!(outcome.networks.len(), 1);
    }

    proptest! {
        #[test]
        fn a_pattern_without_stars_fits_itself_only(subject in "[a-c:/]{1,12}", other in "[a-c:/]{1,12}") {
            prop_assert!(fits(&subject, &subject));
            prop_assert_eq!(fits(&subject, &other), subject == other);
        }

        #[test]
        fn a_star_never_swallows_a_separator(head in "[a-c]{1,4}", tail in "[a-c:/]{0,8}") {
            let whole_part = !tail.is_empty() && !tail.contains([':', '/']);
            let fitted = fits(&format!("{head}:*"), &format!("{head}:{tail}"));
            prop_assert_eq!(fitted, whole_part);
        }
    }
}
