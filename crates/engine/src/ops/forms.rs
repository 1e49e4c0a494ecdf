//! Operations in the form in which they wait for consent, and back: what people consented to is made again from this.
//!
//! A form is closed, says everything that the request asks for besides what it acts on, and holds no secret. What it
//! acts on stands beside it, by id: an alias that leads elsewhere later does not redirect what was approved.

use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_model::approval::{Proposal, Request};
use keyreeve_model::job::RekeyScope;
use keyreeve_model::key::{Activation, Scope};
use keyreeve_model::metadata::Label;
use keyreeve_model::{Classification, Environment, KeyMetadata, Protection, RecordId, RootUse, UnixMillis};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;

use super::rekey::RekeyForm;
use super::{
    anchors, destruction, emergencies, escrow, grants, holds, integrity, keyrings, keys, lifecycle, login, mfa,
    policies, principals, rekey, roots, rules, shares,
};
use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::keys::{KeyRef, KeyringRef};
use crate::pipeline::{Arrival, Operation, Refused};

/// A form as it is stored. Nothing that cannot be written is in one.
pub(crate) fn written(form: &impl Serialize) -> Option<Value> {
    serde_json::to_value(form).ok()
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Error> {
    serde_json::from_value(request.form.clone()).map_err(Error::internal)
}

fn target<T: FromStr>(request: &Request) -> Result<T, Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    request.target.id.parse().map_err(Error::internal)
}

fn key(request: &Request) -> Result<KeyRef, Error> {
    Ok(KeyRef::Id(target(request)?))
}

/// An operation that can be made again from what was stored of it.
pub(crate) trait Revive: Operation {
    /// The same operation.
    fn revive(request: &Request) -> Result<Self, Error>;
}

/// Says only why.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonForm {
    pub(crate) reason: Label,
}

/// Says nothing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmptyForm {}

/// Cedar, or rules in TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextForm {
    pub(crate) text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleForm {
    pub(crate) days: u32,
    pub(crate) reason: Label,
}

impl Revive for destruction::Schedule {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: ScheduleForm = read(request)?;
        Ok(Self { key: key(request)?, days: form.days, reason: form.reason })
    }
}

impl Revive for lifecycle::Rotate {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { key: key(request)?, reason: read::<ReasonForm>(request)?.reason })
    }
}

impl Revive for lifecycle::Activate {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { key: key(request)?, reason: read::<ReasonForm>(request)?.reason })
    }
}

impl Revive for lifecycle::Deactivate {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { key: key(request)?, reason: read::<ReasonForm>(request)?.reason })
    }
}

/// That a key may be known to others, and whether its data is processed all the same.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompromiseForm {
    version: Option<u32>,
    risk_accepted: bool,
    reason: Label,
}

impl From<&lifecycle::Compromise> for CompromiseForm {
    fn from(compromise: &lifecycle::Compromise) -> Self {
        let (version, risk_accepted) = (compromise.version, compromise.risk_accepted);
        Self { version, risk_accepted, reason: compromise.reason.clone() }
    }
}

impl Revive for lifecycle::Compromise {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: CompromiseForm = read(request)?;
        let (version, risk_accepted) = (form.version, form.risk_accepted);
        Ok(Self { key: key(request)?, version, risk_accepted, reason: form.reason })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyForm {
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) purpose: Purpose,
    pub(crate) scope: Scope,
    pub(crate) exportable: bool,
    #[serde(default, skip_serializing_if = "Protection::is_software")]
    pub(crate) protection: Protection,
    pub(crate) activation: Activation,
    pub(crate) deactivates: Option<UnixMillis>,
    pub(crate) deterministic_reason: Option<Label>,
    pub(crate) metadata: KeyMetadata,
    pub(crate) environment: Option<Environment>,
    pub(crate) reason: Label,
}

impl Revive for keys::Create {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: KeyForm = read(request)?;
        let keyring = request.second.as_ref().ok_or_else(|| Error::internal("a key is made in a keyring"))?;
        Self::new(keys::CreateSpec {
            keyring: KeyringRef::Id(keyring.id.parse().map_err(Error::internal)?),
            algorithm: form.algorithm,
            purpose: Some(form.purpose),
            scope: form.scope,
            exportable: form.exportable,
            protection: form.protection,
            activation: form.activation,
            deactivates: form.deactivates,
            deterministic_reason: form.deterministic_reason,
            metadata: form.metadata,
            environment: form.environment,
            reason: form.reason,
        })
    }
}

impl Revive for keys::Update {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { key: key(request)?, patch: read(request)? })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyringForm {
    pub(crate) owner: Label,
    pub(crate) description: Label,
    pub(crate) classification: Classification,
    pub(crate) environment: Environment,
    pub(crate) allow_deterministic: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<RootUse>,
}

impl Revive for keyrings::Create {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: KeyringForm = read(request)?;
        Ok(Self {
            name: target(request)?,
            owner: form.owner,
            description: form.description,
            classification: form.classification,
            environment: form.environment,
            allow_deterministic: form.allow_deterministic,
            roots: form.roots,
        })
    }
}

impl Revive for rekey::RotateKek {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: RekeyForm = read(request)?;
        Ok(Self { keyring: target(request)?, roots: form.roots, pace: form.pace, reason: form.reason })
    }
}

impl Revive for rekey::MigrateRoots {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: RekeyForm = read(request)?;
        let incomplete = || Error::internal("a migration without roots");
        let (to, scope) = (form.roots.ok_or_else(incomplete)?, form.scope.ok_or_else(incomplete)?);
        let from = match scope {
            RekeyScope::Root(root) => Some(root),
            RekeyScope::Everything => None,
            RekeyScope::Keyring(_) => return Err(incomplete()),
        };
        Ok(Self { from, to, pace: form.pace, reason: form.reason })
    }
}

impl Revive for anchors::AcceptRollback {
    fn revive(request: &Request) -> Result<Self, Error> {
        read(request)
    }
}

impl Revive for roots::Retire {
    fn revive(request: &Request) -> Result<Self, Error> {
        read(request)
    }
}

/// A token that is to be issued.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenForm {
    pub(crate) seconds: u64,
    pub(crate) description: Label,
    pub(crate) networks: BTreeSet<String>,
}

/// A principal as it shall be.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutForm<T> {
    pub(crate) put: T,
}

/// A principal's alterations.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchForm<T> {
    pub(crate) patch: T,
}

impl Revive for principals::Put {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: PutForm<principals::PutSpec> = read(request)?;
        Ok(Self::new(form.put))
    }
}

impl Revive for principals::Update {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: PatchForm<principals::PrincipalPatch> = read(request)?;
        Ok(Self { name: target(request)?, patch: form.patch })
    }
}

impl Revive for principals::Delete {
    fn revive(request: &Request) -> Result<Self, Error> {
        read::<EmptyForm>(request)?;
        Ok(Self { name: target(request)? })
    }
}

impl Revive for mfa::Reset {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { principal: target(request)? })
    }
}

impl Revive for grants::Create {
    fn revive(request: &Request) -> Result<Self, Error> {
        read::<grants::GrantForm>(request)?.of_found(&request.target.id)
    }
}

impl Revive for grants::Request {
    fn revive(request: &Request) -> Result<Self, Error> {
        let form: grants::RequestForm = read(request)?;
        Ok(Self { request: form.request.of_found(&request.target.id)? })
    }
}

impl Revive for login::methods::Put {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { spec: read(request)? })
    }
}

impl Revive for login::methods::Delete {
    fn revive(request: &Request) -> Result<Self, Error> {
        read::<EmptyForm>(request)?;
        Ok(Self { method: target(request)? })
    }
}

/// Operations that are their own form.
macro_rules! whole {
    ($($operation:ty),+ $(,)?) => {
        $(impl Revive for $operation {
            fn revive(request: &Request) -> Result<Self, Error> {
                read(request)
            }
        })+
    };
}

whole!(
    policies::Put,
    policies::Delete,
    policies::Apply,
    policies::Rollback,
    holds::Release,
    integrity::Release,
    emergencies::Declare,
    shares::Reshare,
    shares::Commit,
    escrow::SetPolicy,
    escrow::AcceptKey
);

impl Revive for escrow::Recover {
    fn revive(request: &Request) -> Result<Self, Error> {
        escrow::recover_form(key(request)?, read::<escrow::RecoverForm>(request)?)
    }
}

impl Revive for rules::Put {
    fn revive(request: &Request) -> Result<Self, Error> {
        Ok(Self { text: read::<TextForm>(request)?.text })
    }
}

type Running = Pin<Box<dyn Future<Output = Result<Option<RecordId>, Refused>> + Send>>;

type Standing<'a> = Pin<Box<dyn Future<Output = Result<Option<i64>, Error>> + Send + 'a>>;

/// How an operation that waited is run.
struct Form {
    operation: &'static str,
    base: for<'a> fn(&'a Core, &'a Request) -> Standing<'a>,
    run: fn(&Engine, Arrival, &Request) -> Result<Running, Error>,
    again: fn(&Request) -> Option<Value>,
}

fn run<O: Revive>(engine: &Engine, arrival: Arrival, request: &Request) -> Result<Running, Error> {
    let (engine, operation) = (engine.clone(), O::revive(request)?);
    Ok(Box::pin(async move { engine.call(arrival, operation).await.map(|done| done.record) }))
}

fn again<O: Revive>(request: &Request) -> Option<Value> {
    O::revive(request).ok()?.form()
}

fn base<'a, O: Revive>(core: &'a Core, request: &'a Request) -> Standing<'a> {
    Box::pin(async move { O::revive(request)?.replaces(core).await })
}

const fn form<O: Revive>() -> Form {
    Form { operation: O::DESCRIPTOR.name, base: base::<O>, run: run::<O>, again: again::<O> }
}

/// The operations that can be run from what was stored of them. Two forms of one operation are tried in this order;
/// both are closed, so that only one of them can be read.
const FORMS: &[Form] = &[
    form::<destruction::Schedule>(),
    form::<lifecycle::Rotate>(),
    form::<lifecycle::Activate>(),
    form::<lifecycle::Deactivate>(),
    form::<lifecycle::Compromise>(),
    form::<keys::Create>(),
    form::<keys::Update>(),
    form::<keyrings::Create>(),
    form::<rekey::RotateKek>(),
    form::<rekey::MigrateRoots>(),
    form::<roots::Retire>(),
    form::<anchors::AcceptRollback>(),
    form::<principals::Put>(),
    form::<principals::Update>(),
    form::<principals::Delete>(),
    form::<policies::Put>(),
    form::<policies::Delete>(),
    form::<policies::Apply>(),
    form::<policies::Rollback>(),
    form::<mfa::Reset>(),
    form::<grants::Create>(),
    form::<grants::Request>(),
    form::<holds::Release>(),
    form::<emergencies::Declare>(),
    form::<login::methods::Put>(),
    form::<login::methods::Delete>(),
    form::<rules::Put>(),
    form::<shares::Reshare>(),
    form::<shares::Commit>(),
    form::<integrity::Release>(),
    form::<escrow::SetPolicy>(),
    form::<escrow::AcceptKey>(),
    form::<escrow::Recover>(),
];

/// Operations that can wait, and whose answer holds a secret: they are run by asking again, for the answer is given to
/// whoever asks and to nobody later.
///
/// So are those that bring material: it is not kept while others make up their minds, only its digest is.
const ASKED_AGAIN: &[&Descriptor] = &[
    &catalogue::TOKEN_CREATE,
    &catalogue::CREDENTIAL_ISSUE,
    &catalogue::MFA_INVITE,
    &catalogue::KEY_EXPORT,
    &catalogue::KEY_IMPORT,
    &catalogue::KEY_IMPORT_VERSION,
    &catalogue::KEY_REIMPORT,
    &catalogue::ROOT_JOIN,
    &catalogue::ESCROW_MAKE_KEY,
];

/// Whether an operation is one of those.
fn is_asked_again(operation: &str) -> bool {
    ASKED_AGAIN.iter().any(|row| row.name == operation)
}

/// Whether an operation can wait for consent.
pub(crate) fn can_wait(operation: &str) -> bool {
    FORMS.iter().any(|form| form.operation == operation) || is_asked_again(operation)
}

/// Whether a stored request is one that its operation would make again, to the letter.
fn is_faithful(form: &Form, request: &Request) -> bool {
    form.operation == request.operation.as_str() && (form.again)(request).as_ref() == Some(&request.form)
}

/// Refuses to run a request where what it replaces is not what those who consented were shown.
pub(crate) async fn refuse_changed(core: &Core, proposal: &Proposal) -> Result<(), Error> {
    let request = proposal.request();
    let Some(form) = FORMS.iter().find(|form| is_faithful(form, request)) else { return Ok(()) };
    if (form.base)(core, request).await? == request.base_revision {
        return Ok(());
    }
    let text = format!(
        "what this request changes was changed since others consented: look at it again, then `keyreeve approval \
         withdraw {}`, and make the request anew",
        proposal.id()
    );
    Err(Error::new(Code::Conflict, text))
}

/// Runs a request that waited, for whoever arrives: it goes through every stage as if it had just been made.
pub(crate) async fn run_again(
    engine: &Engine,
    arrival: Arrival,
    proposal: &Proposal,
) -> Result<Option<RecordId>, Refused> {
    let request = proposal.request();
    let refused = |error| Refused { error, record: None, waiting: None };
    if is_asked_again(request.operation.as_str()) {
        let text =
            "what this request brings, or its answer, is kept by nobody: make the same request again, it runs now";
        return Err(refused(Error::new(Code::WrongState, text)));
    }
    let unknown = || Error::internal("a stored request cannot be made again");
    let form = FORMS.iter().find(|form| is_faithful(form, request)).ok_or_else(|| refused(unknown()))?;
    (form.run)(engine, arrival, request).map_err(refused)?.await
}
