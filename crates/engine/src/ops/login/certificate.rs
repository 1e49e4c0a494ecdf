//! Client certificates in exchange for a session: where many are issued by one authority, such as SPIFFE, a rule names
//! all of them.

use keyreeve_identity::bind;
use keyreeve_identity::certificate::{Presented, facts, is_vouched_for};
use keyreeve_model::Name;
use keyreeve_model::login::MethodKind;
use std::sync::Arc;

use super::{Attempt, Details, LoggedIn, Proven, Stop, Terms, usable_method};
use crate::access::HeldMethod;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::pipeline::{Approved, Operation, Outcome, PeerCertificate, Target};

/// Logs in with the certificate of the connection.
#[derive(Debug)]
pub struct Certificate {
    /// The method.
    pub method: Name,
    /// The certificate that TLS has verified; none where the connection has none.
    pub peer: Option<Arc<PeerCertificate>>,
}

impl Operation for Certificate {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_CERTIFICATE;
    const OF_STRANGERS: bool = true;
    const PROVES: bool = true;
    type Reply = LoggedIn;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<LoggedIn>, Error> {
        let opened = core.need_open()?;
        let held = usable_method(&opened, &self.method)?;
        let attempt = Attempt::begin(core, &opened, approved, &self.method, ("", false))?;
        let judged = self.judge(&attempt, &held);
        attempt.end(&Terms::of(&held.record), judged)
    }
}

impl Certificate {
    fn judge(&self, attempt: &Attempt<'_>, held: &HeldMethod) -> Result<Proven, Stop> {
        let MethodKind::Certificate(method) = &held.record.kind else { return Err("other-kind".into()) };
        let peer = self.peer.as_ref().ok_or("no-certificate")?;
        let fingerprint = hex::encode(peer.fingerprint);
        let details = Details::from([("certificate_sha256".to_owned(), fingerprint.clone())]);
        let doubt = |reason| Stop::Doubt(reason, details.clone());
        let (from, until) = peer.valid;
        if attempt.now < from || attempt.now > until {
            return Err(doubt(if attempt.now < from { "not-yet-valid" } else { "expired" }));
        }
        let presented = Presented {
            fingerprint: &fingerprint,
            dns_names: &peer.dns_names,
            uris: &peer.uris,
            authorities: &peer.authorities,
        };
        // One of several authorities that the listener trusts does not speak for another's names.
        if !is_vouched_for(method, &presented) {
            return Err(doubt("other-authority"));
        }
        let facts = facts(method, &presented).ok_or_else(|| doubt("name-not-admitted"))?;
        let bound = bind(&held.record.bindings, &facts).ok_or_else(|| doubt("no-binding"))?;
        // What names this very certificate is never beaten by a pattern.
        if attempt.opened.access().certified(peer).is_some_and(|holder| holder.record.name != bound.principal) {
            return Err(doubt("of-another-principal"));
        }
        let subject = keyreeve_identity::Facts::subject(&facts).to_owned();
        Ok(Proven {
            bound,
            subject: Some((String::new(), subject)),
            credential: None,
            until: Some(until),
            mfa: None,
            changes: Vec::new(),
            details,
        })
    }
}
