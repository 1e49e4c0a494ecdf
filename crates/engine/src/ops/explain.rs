//! The question why: what the pipeline would say to a request, without the request.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::ids::GrantId;
use keyreeve_model::{EncryptionContext, KeyMetadata, Name, State, UnixMillis};
use keyreeve_policy::{Explanation, Method, PrincipalAttrs, Request, ResourceKind};
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::access::{AccessSnapshot, Granting, HeldPrincipal};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::keys::{KeyRef, KeyringRef, attrs_of};
use crate::ops::grants::Wanted;
use crate::pipeline::{
    Approved, Circumstances, Operation, Outcome, Reason, Remember, Resource, Target, elevated, granted, resolve,
    resolve_named,
};

/// Answers whether a principal may do something, and why.
#[derive(Debug)]
pub struct Explain {
    /// Who would ask.
    pub principal: Name,
    /// The operation's name in the catalogue.
    pub action: String,
    /// On what: a key, keyring, token, principal or policy, as the action needs; for a key to be made its keyring, for
    /// a token to be made its principal; nothing for the server itself.
    pub resource: Option<String>,
    /// The second thing the operation acts on: the key that re-encryption goes to.
    pub to: Option<String>,
    /// From which address; one in the principal's own networks unless said.
    pub source: Option<IpAddr>,
    /// At which time; now unless said.
    pub time: Option<UnixMillis>,
    /// How the principal would prove itself.
    pub method: Method,
    /// How many seconds ago it would have shown a second factor, where it would have one.
    pub mfa_age_seconds: Option<u64>,
    /// By which login method it would have come in.
    pub login: Option<Name>,
    /// With which encryption context.
    pub context: EncryptionContext,
}

/// The explanation.
#[derive(Debug)]
pub struct Explained {
    /// Whether all would be allowed.
    pub allowed: bool,
    /// One or a few sentences for a person.
    pub answer: String,
    /// Where refused: what would have to be there against the first refusal, nearest first.
    pub missing: Vec<String>,
    /// What policies say, for each action that the operation needs.
    pub decisions: Vec<(&'static str, Explanation)>,
}

impl Remember for Explained {}

impl Operation for Explain {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_EXPLAIN;
    type Reply = Explained;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Explained>, Error> {
        let opened = core.need_open()?;
        let row = self.row()?;
        let access = opened.access();
        let holder = access.principal(&self.principal).ok_or_else(|| Error::not_found("principal"))?;
        let now = self.time.unwrap_or(approved.now());
        // Whoever is bound to networks comes from one of them, unless the question is about another.
        let assumed = holder.attrs.networks.first().map(|network| network.address()).filter(|_| self.source.is_none());
        let source = self.source.or(assumed);
        let mfa = self.mfa_age_seconds.map(|age| shown(now, age));
        let login = self.login.as_ref();
        let circumstances = Circumstances { source, now, method: self.method, mfa: mfa.as_ref(), login };
        let bar = holder.admit(circumstances.source).err();
        let mut remarks = Vec::new();
        if let Some(address) = assumed {
            remarks.push(format!("Assumed to come from {address}, in the first of its networks."));
        }
        let (elevations, attrs) =
            elevated(&access, &holder, BTreeSet::new(), (circumstances.source, self.mfa_age_seconds, now));
        for grant in elevations {
            remarks.push(format!("The grant {grant} adds a role for a time."));
        }
        let mut decisions = Vec::new();
        let mut look = |action: &'static Descriptor, resource: Resource| {
            if let Some(what) = resource.missing() {
                remarks.push(format!("There is no such {what}: it would be refused as not found at the latest."));
            }
            decisions.push((action.name, self.decided(&access, &attrs, (action, &resource), circumstances)));
        };
        look(row, self.resource(core, row, now).await?);
        if let Some(second) = self.second(row)? {
            let key: KeyRef = self.to.as_deref().unwrap_or_default().parse()?;
            look(second, resolve(core, Target::Key(&key), now).await?);
        }
        if row.also == Some(row.name) {
            let text = "It is decided twice: for what is there, as here, and for what the change would make of it.";
            remarks.push(text.to_owned());
        }
        let explained = summed_up(&holder, bar, circumstances.source, decisions, &remarks);
        let allowed = explained.allowed;
        Ok(Outcome::reply(explained)
            .detail("about", &self.principal)
            .detail("action", row.name)
            .detail("allowed", allowed))
    }
}

/// The proof of a second factor, so many seconds ago.
fn shown(now: UnixMillis, age_seconds: u64) -> MfaProof {
    let millis = i64::try_from(age_seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    MfaProof { at: UnixMillis(now.0.saturating_sub(millis)), kind: MfaKind::Totp, credential: None }
}

impl Explain {
    fn row(&self) -> Result<&'static Descriptor, Error> {
        let unknown =
            || Error::invalid(format!("there is no operation `{}`: `keyreeve policy actions` lists them", self.action));
        catalogue::find(&self.action).ok_or_else(unknown)
    }

    /// The second action that must be allowed, where it is about another thing than the first.
    fn second(&self, row: &Descriptor) -> Result<Option<&'static Descriptor>, Error> {
        let second = row.also.filter(|also| *also != row.name).and_then(catalogue::find);
        match (second, &self.to) {
            (None, Some(_)) => Err(Error::invalid(format!("`{}` acts on one thing only: ask without `to`", row.name))),
            (Some(second), None) => {
                let text =
                    format!("`{}` also needs `{}` on another key: say on which with `to`", row.name, second.name);
                Err(Error::invalid(text))
            }
            (second, _) => Ok(second),
        }
    }

    fn decided(
        &self,
        access: &AccessSnapshot,
        attrs: &PrincipalAttrs,
        (action, resource): (&'static Descriptor, &Resource),
        circumstances: Circumstances<'_>,
    ) -> Explanation {
        let about = resource.attrs();
        let context = circumstances.context(Some(&self.context), 1);
        let request = Request { principal: attrs, action: action.name, resource: &about, context: &context };
        let mut explanation = access.policies().cache.policies().explain(&request);
        match granted(access, &explanation.decision, &self.principal, &request) {
            Granting::No => {}
            Granting::Yes(grant) => {
                explanation.decision.allowed = true;
                explanation.missing.clear();
                explanation.answer = format!("Allowed by the grant {grant}, where policies are silent.");
            }
            Granting::NeedsMfa => {
                let text = "a second factor shown not long ago: then a grant allows it";
                explanation.missing.insert(0, text.to_owned());
            }
        }
        explanation
    }

    async fn resource(&self, core: &Core, row: &Descriptor, now: UnixMillis) -> Result<Resource, Error> {
        if matches!(row.resource, ResourceKind::System | ResourceKind::Audit) {
            return resolve_named(core, row.resource, "", now).await;
        }
        let text = self.resource.as_deref();
        let text =
            text.ok_or_else(|| Error::invalid("this operation acts on something: say on what with `resource`"))?;
        if row == &catalogue::KEY_CREATE {
            let usual = KeyAlgorithm::default();
            let purpose = usual.purposes().first().ok_or_else(|| Error::internal("no purpose"))?;
            let attrs = attrs_of(usual, *purpose, State::PreActivation, &KeyMetadata::default());
            return resolve(core, Target::NewKey(&text.parse::<KeyringRef>()?, &attrs), now).await;
        }
        if row == &catalogue::KEYRING_CREATE {
            return resolve(core, Target::NewKeyring(&text.parse::<Name>()?), now).await;
        }
        if row.resource == ResourceKind::Grant && text.parse::<GrantId>().is_err() {
            let wanted = Wanted::Key { key: text.parse()?, operations: BTreeSet::new() };
            return resolve(core, Target::NewGrant(&self.principal, &wanted), now).await;
        }
        resolve_named(core, row.resource, text, now).await
    }
}

/// Why a principal does not come in at all, and what would have to be otherwise.
fn barred(holder: &HeldPrincipal, bar: Reason, source: Option<IpAddr>) -> (String, String) {
    let name = &holder.record.name;
    if bar == Reason::OtherNetwork {
        let networks = holder.record.networks.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let from = source.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
        return (
            format!("Refused: {name} may come from {networks} only, not from {from}; no policy is asked."),
            format!("the request would have to come from {networks}, or {name} be given another network"),
        );
    }
    (
        format!("Refused: {name} is let in for nothing ({}); no policy is asked.", bar.name()),
        format!("{name} would have to be enabled"),
    )
}

fn summed_up(
    holder: &HeldPrincipal,
    bar: Option<Reason>,
    source: Option<IpAddr>,
    decisions: Vec<(&'static str, Explanation)>,
    remarks: &[String],
) -> Explained {
    let agreed = decisions.iter().all(|(_, explanation)| explanation.decision.allowed);
    // The refusals where there is one: what else would be allowed is no answer then.
    let telling = decisions.iter().filter(|(_, explanation)| agreed || !explanation.decision.allowed);
    let mut sentences: Vec<String> = telling.map(|(_, explanation)| explanation.answer.clone()).collect();
    let first = decisions.iter().find(|(_, explanation)| !explanation.decision.allowed);
    let mut missing = first.map(|(_, explanation)| explanation.missing.clone()).unwrap_or_default();
    if let Some(bar) = bar {
        let (why, wanted) = barred(holder, bar, source);
        sentences.insert(0, format!("{why} Policies alone would say:"));
        missing = vec![wanted];
    }
    sentences.extend_from_slice(remarks);
    Explained { allowed: agreed && bar.is_none(), answer: sentences.join(" "), missing, decisions }
}
