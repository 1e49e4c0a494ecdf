//! Ways to log in, at one moment.

use keyreeve_identity::KeySet;
use keyreeve_model::Name;
use keyreeve_model::access::Session;
use keyreeve_model::filed::FiledRecord;
use keyreeve_model::login::{JwtKeys, LoginMethod, MethodKind};
use keyreeve_model::record::BadRecord;
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Error;
use crate::integrity::Source;
use crate::pipeline::Reason;

/// What the sessions of service credentials have in place of a method.
pub(crate) const CREDENTIAL: &str = "credential";
/// What stands in sessions for a login without a method, service credentials and issued tokens: no method is called so.
pub(crate) const NO_METHODS: [&str; 2] = [CREDENTIAL, "token"];

/// A login method whose row was checked.
#[derive(Debug)]
pub(crate) struct HeldMethod {
    pub(crate) record: LoginMethod,
    /// The keys of an issuer that the method itself holds.
    pub(crate) keys: Option<Arc<KeySet>>,
}

impl HeldMethod {
    fn new(record: LoginMethod) -> Result<Self, BadRecord> {
        let keys = match &record.kind {
            MethodKind::Jwt(jwt) => match &jwt.keys {
                JwtKeys::Static(text) => Some(KeySet::parse(text.as_bytes())),
                JwtKeys::Discovery | JwtKeys::Url(_) => None,
            },
            MethodKind::Oidc(_) | MethodKind::Ldap(_) | MethodKind::Certificate(_) => None,
        };
        let keys = keys.transpose().map_err(|_| BadRecord::Unreadable { table: LoginMethod::TABLE.name() })?;
        Ok(Self { record, keys: keys.map(Arc::new) })
    }
}

/// All ways to log in.
#[derive(Clone, Default)]
pub(crate) struct LoginMethods {
    methods: HashMap<Name, Arc<HeldMethod>>,
}

impl LoginMethods {
    /// Reads and checks every method. By one that is damaged nobody comes in, and sessions that came from it are over.
    pub(super) async fn load(source: Source<'_>) -> Result<Self, Error> {
        let mut methods = HashMap::new();
        let keep = |record: LoginMethod| {
            methods.insert(record.name.clone(), Arc::new(HeldMethod::new(record)?));
            Ok(())
        };
        source.each_filed(None, keep).await?;
        Ok(Self { methods })
    }

    /// The method of this name.
    pub(crate) fn get(&self, name: &Name) -> Option<Arc<HeldMethod>> {
        self.methods.get(name).cloned()
    }

    /// All, by name.
    pub(crate) fn all(&self) -> Vec<Arc<HeldMethod>> {
        let mut all: Vec<_> = self.methods.values().cloned().collect();
        all.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        all
    }

    /// Why a session does not count any more: its method is not there, is switched off or another one of that name, or
    /// believes others now. None where it counts.
    pub(crate) fn refuse(&self, session: &Session) -> Option<Reason> {
        if NO_METHODS.contains(&session.login.as_str()) {
            return None;
        }
        let method = self.methods.get(&session.login).map(|held| &held.record);
        match method.filter(|method| !method.disabled && method.created <= session.authenticated) {
            None => Some(Reason::LoginMethodGone),
            Some(method) => (method.edition != session.edition).then_some(Reason::LoginMethodChanged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_policy::LOGIN_KINDS;

    #[test]
    fn policies_know_every_kind_of_login() {
        assert_eq!([&MethodKind::NAMES[..], &[CREDENTIAL]].concat(), LOGIN_KINDS);
    }
}
