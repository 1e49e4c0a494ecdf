//! People with the password of a directory.

use keyreeve_identity::bind;
use keyreeve_identity::ldap::{is_password, is_user_name};
use keyreeve_identity_port::{Bind, DirectoryPlace, Groups, Trust};
use keyreeve_model::Name;
use keyreeve_model::filed::FiledRecord;
use keyreeve_model::login::{LdapGroups, LdapMethod, LoginMethod, MethodKind};
use keyreeve_secret::SecretString;
use tokio::sync::OnceCell;

use super::subject::recognise;
use super::{Attempt, Details, LoggedIn, Proven, Stop, Terms, usable_method};
use crate::access::HeldMethod;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::issuers::outside;
use crate::pipeline::{Approved, Operation, Outcome, Target};

/// Logs in with a name and a password that a directory checks.
#[derive(Debug)]
pub struct Ldap {
    /// The method.
    pub method: Name,
    /// What was typed as the name.
    pub user: String,
    /// The password.
    pub password: SecretString,
    /// What the directory said: it is asked once, however often the operation is computed.
    answer: OnceCell<Bind>,
}

impl Ldap {
    /// The operation.
    #[must_use]
    pub fn new(method: Name, user: String, password: SecretString) -> Self {
        Self { method, user, password, answer: OnceCell::new() }
    }

    async fn judge(&self, attempt: &Attempt<'_>, held: &HeldMethod) -> Result<Proven, Stop> {
        let MethodKind::Ldap(method) = &held.record.kind else { return Err("other-kind".into()) };
        if !is_user_name(&self.user) || !is_password(self.password.expose()) {
            return Err("malformed".into());
        }
        let answer = self.answer.get_or_try_init(|| self.ask(attempt, method)).await?;
        // All that follows ends alike for who asks: that a password was right is told by a login, and by nothing else.
        let entry = match answer {
            Bind::Person(entry) => entry,
            Bind::Nobody => return Err("wrong-password".into()),
            Bind::Unfit(reason) => return Err((*reason).into()),
        };
        let bound = bind(&held.record.bindings, entry).ok_or("no-binding")?;
        let subject = entry.identity();
        let changes = recognise(attempt, &held.record, &bound, &subject).await?.into_iter().collect();
        Ok(Proven {
            bound,
            subject: Some(subject),
            credential: None,
            until: None,
            mfa: None,
            changes,
            details: Details::new(),
        })
    }

    async fn ask(&self, attempt: &Attempt<'_>, method: &LdapMethod) -> Result<Bind, Error> {
        let service = match &method.bind_password {
            Some(sealed) => {
                let stands = (LoginMethod::TABLE, self.method.as_str().as_bytes(), "bind_password");
                let secret = attempt.opened.keys.open_field(stands, sealed)?;
                Some(SecretString::from_utf8(secret).map_err(Error::internal)?)
            }
            None => None,
        };
        let directory = &attempt.core.ports.directory;
        directory.bind(&place(method), service.as_ref(), &self.user, &self.password).await.map_err(outside)
    }
}

fn place(method: &LdapMethod) -> DirectoryPlace {
    let groups = match method.groups.clone() {
        LdapGroups::None => Groups::None,
        LdapGroups::Attribute(attribute) => Groups::Attribute(attribute),
        LdapGroups::Search { base, filter, attribute } => Groups::Search { base, filter, attribute },
    };
    DirectoryPlace {
        url: method.url.clone(),
        starttls: method.starttls,
        trust: Trust { ca_pem: method.ca_pem.clone() },
        bind_dn: method.bind_dn.clone(),
        base: method.base.clone(),
        filter: method.filter.clone(),
        user_attr: method.user_attribute.clone(),
        groups,
    }
}

impl Operation for Ldap {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_LDAP;
    const OF_STRANGERS: bool = true;
    const PROVES: bool = true;
    type Reply = LoggedIn;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<LoggedIn>, Error> {
        let opened = core.need_open()?;
        let held = usable_method(&opened, &self.method)?;
        let attempt = Attempt::begin(core, &opened, approved, &self.method, (&self.user, true))?;
        let judged = self.judge(&attempt, &held).await;
        attempt.end(&Terms::of(&held.record), judged)
    }
}
