//! Rules that nobody could satisfy are found before they stop everybody.

use super::*;

impl Council {
    /// Puts a policy of the deployment's own.
    async fn policy(&self, text: &str) {
        self.house.ask(policies::Put { name: name("own"), text: text.to_owned() }).await;
    }

    /// Why the rules cannot be enacted.
    async fn unsatisfiable(&self) -> String {
        let refused = self.house.call(&self.olga.who, Enact).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::Unsatisfiable, "{:?}", refused.error);
        refused.error.public().to_owned()
    }
}

#[tokio::test]
async fn those_whom_policies_let_not_vote_fill_no_seat() {
    let council = Council::gathered().await;
    let vote = "action == Keyreeve::Action::\"approval.vote\"";
    council.policy(&format!("forbid (principal in Keyreeve::Role::\"legal\", {vote}, resource);")).await;
    let told = council.unsatisfiable().await;
    assert!(told.contains("rule `destroy`: nobody for legal"), "{told}");
    assert!(!told.contains("`rules`"), "{told}");
    let record = council.house.told_of("governance.enact").await.remove(0);
    assert_eq!(record.details["unsatisfiable"], "destroy");
    // Of one operation only, that one.
    let of = "resource.operation == \"policy.rollback\"";
    council.policy(&format!("forbid (principal in Keyreeve::Role::\"ciso\", {vote}, resource) when {{ {of} }};")).await;
    let told = council.unsatisfiable().await;
    assert!(told.contains("rule `policies`: nobody for ciso (for `policy.rollback`)"), "{told}");
    // What is true under some circumstances only is no reason.
    let fresh = "context has mfa_age_seconds && context.mfa_age_seconds < 600";
    council.policy(&format!("forbid (principal, {vote}, resource) unless {{ {fresh} }};")).await;
    council.house.call(&council.olga.who, Enact).await.unwrap();
}

#[tokio::test]
async fn somebody_besides_the_voters_must_be_able_to_ask() {
    let council = Council::gathered().await;
    let put = "action == Keyreeve::Action::\"rules.put\"";
    let only = format!(
        "permit (principal == Keyreeve::Principal::\"carl\", {put}, resource);\n\
         forbid (principal, {put}, resource) unless {{ principal.name == \"carl\" }};"
    );
    council.policy(&only).await;
    let told = council.unsatisfiable().await;
    assert!(told.contains("rule `rules`: nobody for ciso"), "he has no seat where he asks: {told}");
    let destroy = "action == Keyreeve::Action::\"key.schedule-destruction\"";
    council.policy(&format!("forbid (principal, {destroy}, resource);")).await;
    let told = council.unsatisfiable().await;
    assert!(told.contains("rule `destroy`: nobody may ask"), "{told}");
}

#[tokio::test]
async fn those_who_are_switched_off_do_not_count() {
    let council = Council::gathered().await;
    let off = principals::PrincipalPatch { disabled: Some(true), ..principals::PrincipalPatch::default() };
    council.house.ask(principals::Update { name: name("lea"), patch: off }).await;
    assert!(council.unsatisfiable().await.contains("rule `destroy`: nobody for legal"));
}

#[tokio::test]
async fn rules_that_nobody_could_satisfy_are_not_put() {
    let council = Council::new().await;
    let (house, olga) = (&council.house, &council.olga);
    let book = house.ask(rules::Describe).await.book.rules.to_toml();
    let vote = "action == Keyreeve::Action::\"approval.vote\"";
    let text = format!("forbid (principal in Keyreeve::Role::\"dpo\", {vote}, resource);");
    let put = || policies::Put { name: name("own"), text: text.clone() };
    let id = olga.waits(house, put()).await;
    council.carl.approve(house, id).await;
    council.sue.approve(house, id).await;
    house.call(&olga.who, put()).await.unwrap();
    let more =
        format!("{book}\n[[rule]]\nname = \"seal\"\noperations = [\"key.rotate\"]\nseats = [{{ role = \"dpo\" }}]\n");
    // Before anybody is asked.
    let refused = house.call(&olga.who, rules::Put { text: more }).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unsatisfiable);
    assert!(refused.error.public().contains("rule `seal`: nobody for dpo"), "{:?}", refused.error);
    assert_eq!(house.ask(rules::Describe).await.book.version, 0, "nothing was changed");
}

impl Council {
    /// Asks for something about a principal that others have to agree to.
    async fn voted<O: keyreeve_engine::Operation>(
        &self,
        operation: impl Fn() -> O,
    ) -> Result<O::Reply, keyreeve_engine::Refused> {
        let refused = match self.house.call(&self.olga.who, operation()).await {
            Ok(done) => return Ok(done.reply),
            Err(refused) => refused,
        };
        let Some(id) = refused.waiting.as_ref().map(|waiting| waiting.approval) else { return Err(refused) };
        for member in [&self.sue, &self.carl, &self.otto] {
            if self.house.state(id).await == ProposalState::Waiting {
                let _ = member.vote(&self.house, id, Decision::Approve).await;
            }
        }
        self.house.call(&self.olga.who, operation()).await.map(|done| done.reply)
    }
}

#[tokio::test]
async fn whoever_takes_a_role_away_is_told_of_the_rules_that_need_it() {
    let council = Council::new().await;
    let deleted = council.voted(|| principals::Delete { name: name("lea") }).await.unwrap();
    assert_eq!(deleted.warnings, ["nobody could satisfy this any more: rule `destroy`: nobody for legal"],);
    let record = council.house.told_of("principal.delete").await.pop().unwrap();
    assert_eq!(record.details["unsatisfiable"], "destroy");
    // What was so before is not told again.
    let off = || principals::PrincipalPatch { disabled: Some(true), ..principals::PrincipalPatch::default() };
    let put = council.voted(|| principals::Update { name: name("owen"), patch: off() }).await.unwrap();
    assert!(put.warnings.iter().all(|warning| warning.contains("system owner")), "{:?}", put.warnings);
    let record = council.house.told_of("principal.put").await.pop().unwrap();
    assert_eq!(record.details["unsatisfiable"], "grant-for-a-time grant-key");
}

#[tokio::test]
async fn nobody_takes_away_who_is_needed_to_change_the_rules() {
    let council = Council::new().await;
    let house = &council.house;
    let deleting = || principals::Delete { name: name("carl") };
    let refused = council.voted(deleting).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unsatisfiable, "{:?}", refused.error);
    assert!(refused.error.public().contains("(rule `rules`: nobody for ciso)"), "{:?}", refused.error);
    let off = || principals::PrincipalPatch { disabled: Some(true), ..principals::PrincipalPatch::default() };
    let refused = council.voted(|| principals::Update { name: name("sue"), patch: off() }).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unsatisfiable, "{:?}", refused.error);
    // Somebody without a second factor cannot take the place today.
    council.voted(|| House::putting("cora", &["ciso"])).await.unwrap();
    assert_eq!(house.code_for(&council.olga.who, deleting()).await, Code::Unsatisfiable);
    assert!(house.shown_principal("carl").await, "nothing was changed");
}

#[tokio::test]
async fn no_policy_keeps_those_from_voting_who_are_needed_to_change_the_rules() {
    let council = Council::new().await;
    let house = &council.house;
    let vote = "action == Keyreeve::Action::\"approval.vote\"";
    let put = |role: &str| {
        let text = format!("forbid (principal in Keyreeve::Role::\"{role}\", {vote}, resource);");
        policies::Put { name: name("own"), text }
    };
    let refused = council.voted(|| put("ciso")).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unsatisfiable, "{:?}", refused.error);
    assert!(refused.error.public().contains("(rule `rules`: nobody for ciso)"), "{:?}", refused.error);
    let listed = house.ask(policies::List { after: None, limit: 100 }).await.items;
    assert!(listed.iter().all(|policy| policy.name != "own"), "nothing was changed");
    council.voted(|| put("legal")).await.expect("others consent to changes of the rules");
}

impl House {
    async fn shown_principal(&self, who: &str) -> bool {
        !self.ask(principals::Describe { name: name(who) }).await.record.disabled
    }
}
