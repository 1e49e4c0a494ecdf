//! What was consented to is run only while what it changes is what people saw.

use keyreeve_engine::ops::mfa::{Answer, Answered, Reset, TotpStart, Verify};
use keyreeve_engine::ops::policies::{Apply, Delete, Put, Rollback};
use keyreeve_engine::{Operation, Refused};
use keyreeve_model::mfa::TotpAlgorithm;

use super::*;

const FIRST: &str = "permit (principal in Keyreeve::Role::\"first\", action, resource);";
const SECOND: &str = "permit (principal in Keyreeve::Role::\"second\", action, resource);";

fn put(policy: &str, text: &str) -> Put {
    Put { name: name(policy), text: text.to_owned() }
}

fn apply(base: Option<u64>) -> Apply {
    let policies = BTreeMap::from([(name("mine"), FIRST.to_owned())]);
    Apply { policies, delete_others: false, base, dry_run: false, comment: label("c") }
}

impl Council {
    /// A request that two consented to.
    async fn consented<O: Operation>(&self, operation: O) -> ApprovalId {
        let id = self.olga.waits(&self.house, operation).await;
        self.carl.approve(&self.house, id).await;
        self.sue.approve(&self.house, id).await;
        id
    }

    async fn run(&self, id: ApprovalId) -> Result<(), Refused> {
        self.house.engine().execute_approved(House::arrival(&self.olga.who), id).await.map(|_| ())
    }

    /// Others change a policy, with consent.
    async fn meanwhile(&self, operation: Put) {
        let id = self.consented(operation).await;
        self.run(id).await.unwrap();
    }

    async fn refused_as_changed(&self, id: ApprovalId) {
        let refused = self.run(id).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::Conflict, "{:?}", refused.error);
        assert!(refused.error.public().contains("look at it again"), "{:?}", refused.error);
        assert!(
            refused.waiting.is_none() && refused.record.is_some(),
            "it is refused on record, and nothing new waits"
        );
    }
}

#[tokio::test]
async fn a_list_that_takes_the_place_of_another_is_the_one_that_was_looked_at() {
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.consumers = BTreeSet::from([label("payroll"), label("shop")]);
    let (council, key) = council_with(spec).await;
    let (house, ann) = (&council.house, &council.ann);
    let consumers = |consumers| MetadataPatch { consumers, ..MetadataPatch::default() };
    let list = ["payroll", "shop", "wiki"].map(label).into();
    let id = ann.waits(house, update(&key, consumers(SetPatch::Replace(list)))).await;
    council.sue.approve(house, id).await;
    council.owen.approve(house, id).await;
    // Payroll was broken into.
    let revoked = SetPatch::Alter { add: BTreeSet::new(), remove: [label("payroll")].into() };
    house.call(&ann.who, update(&key, consumers(revoked))).await.expect("one less waits for nobody");
    let ran = house.engine().execute_approved(House::arrival(&ann.who), id).await.map(|_| ());
    assert_eq!(ran.unwrap_err().error.code(), Code::Conflict);
    // What only comes builds on nothing.
    let added = SetPatch::Alter { add: [label("wiki")].into(), remove: BTreeSet::new() };
    let id = ann.waits(house, update(&key, consumers(added))).await;
    assert_eq!(house.shown(id).await.proposal.request().base_revision, None);
}

#[tokio::test]
async fn a_set_of_policies_is_applied_to_what_was_looked_at() {
    let council = Council::gathered().await;
    council.house.ask(put("theirs", FIRST)).await;
    council.house.call(&council.olga.who, Enact).await.unwrap();
    let id = council.consented(apply(None)).await;
    assert_eq!(council.house.shown(id).await.proposal.request().base_revision, Some(1));
    council.meanwhile(put("theirs", SECOND)).await;
    council.refused_as_changed(id).await;
    assert!(council.house.ask(policies::List { after: None, limit: 100 }).await.items.iter().all(|p| p.name != "mine"));
    // Who says what they looked at hears at once that it is another.
    let refused = council.house.call(&council.olga.who, apply(Some(1))).await.unwrap_err();
    assert_eq!((refused.error.code(), refused.waiting), (Code::Conflict, None));
    let id = council.consented(apply(Some(2))).await;
    council.run(id).await.unwrap();
}

#[tokio::test]
async fn policies_are_put_back_and_removed_in_the_version_that_was_looked_at() {
    let council = Council::gathered().await;
    let house = &council.house;
    house.ask(put("theirs", FIRST)).await;
    house.ask(put("theirs", SECOND)).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let back = |base| Rollback { version: 1, base, comment: label("c") };
    let gone = |base| Delete { name: name("theirs"), base };
    let (rollback, deletion) = (council.consented(back(None)).await, council.consented(gone(None)).await);
    council.meanwhile(put("other", FIRST)).await;
    council.refused_as_changed(rollback).await;
    council.refused_as_changed(deletion).await;
    for refused in
        [house.code_for(&council.olga.who, back(Some(2))).await, house.code_for(&council.olga.who, gone(Some(2))).await]
    {
        assert_eq!(refused, Code::Conflict);
    }
    let deletion = council.consented(gone(Some(3))).await;
    council.run(deletion).await.unwrap();
}

#[tokio::test]
async fn factors_are_reset_that_were_there_when_people_consented() {
    let council = Council::new().await;
    let (house, ann) = (&council.house, &council.ann);
    let reset = || Reset { principal: name("ann") };
    let id = council.olga.waits(house, reset()).await;
    council.otto.approve(house, id).await;
    council.sue.approve(house, id).await;
    house.clock.turn(60_000);
    let shown = Verify { answer: Answer::Code { credential: None, code: ann.code(house) } };
    assert!(matches!(house.call(&ann.who, shown).await.unwrap().reply, Answered::Right(_)));
    let another = TotpStart { label: label("tablet"), algorithm: TotpAlgorithm::Sha1, invitation: None };
    house.call(&ann.who, another).await.unwrap();
    council.refused_as_changed(id).await;
    assert_ne!(council.olga.waits(house, reset()).await, id, "it is asked for anew");
}

#[tokio::test]
async fn consent_to_a_way_in_for_somebody_is_for_whom_they_were_then() {
    let council = Council::new().await;
    let (house, olga) = (&council.house, &council.olga);
    let token =
        || tokens::Create { principal: name("ann"), seconds: 3600, description: label("t"), networks: BTreeSet::new() };
    let agreed = async |id| {
        council.sue.approve(house, id).await;
        council.otto.approve(house, id).await;
    };
    let id = olga.waits(house, token()).await;
    agreed(id).await;
    agreed(olga.waits(house, House::putting("ann", &["key-auditor"])).await).await;
    house.call(&olga.who, House::putting("ann", &["key-auditor"])).await.expect("agreed, or nothing to agree to");
    let anew = olga.waits(house, token()).await;
    assert_ne!(anew, id, "nobody consented to a token of an auditor");
}
