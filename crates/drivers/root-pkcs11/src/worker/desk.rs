//! One session and what is done in it, one request after the other.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::operations::{self, Probe};
use super::token::Token;
use super::trouble::Trouble;
use super::{failed, keys};
use crate::wire::{Failure, KeyRef, Reply, Request};

/// Keys whose handles are remembered.
const HANDLES_MAX: usize = 10_000;

/// A thread's place at the token.
pub(super) struct Desk {
    token: Arc<Token>,
    open: Option<Open>,
}

/// What goes with a session.
pub(super) struct Open {
    pub(super) session: Session,
    handles: HashMap<KeyRef, ObjectHandle>,
    probes: HashMap<KeyRef, Probe>,
}

impl Open {
    /// The handle of a key, which was looked at when it was found.
    pub(super) fn key(&mut self, key: &KeyRef) -> Result<ObjectHandle, Trouble> {
        if let Some(handle) = self.handles.get(key) {
            return Ok(*handle);
        }
        let handle = keys::find(&self.session, key)?;
        if self.handles.len() >= HANDLES_MAX {
            self.handles.clear();
            self.probes.clear();
        }
        self.handles.insert(key.clone(), handle);
        Ok(handle)
    }

    /// Where the sample of a key is kept.
    pub(super) fn probes(&mut self) -> (&Session, &mut HashMap<KeyRef, Probe>) {
        (&self.session, &mut self.probes)
    }
}

impl Desk {
    pub(super) fn new(token: Arc<Token>) -> Self {
        Self { token, open: None }
    }

    /// Answers one request; once more in a new session if the old one turns out to be stale.
    pub(super) fn serve(&mut self, request: &Request) -> Reply {
        let first = self.attempt(request);
        let outcome = match first {
            Err(Trouble::Stale(_)) => {
                self.open = None;
                self.attempt(request)
            }
            other => other,
        };
        outcome.unwrap_or_else(|trouble| {
            self.open = None;
            trouble.into_reply()
        })
    }

    fn attempt(&mut self, request: &Request) -> Result<Reply, Trouble> {
        if self.open.is_none() {
            let session = self.token.session()?;
            self.open = Some(Open { session, handles: HashMap::new(), probes: HashMap::new() });
        }
        let Some(open) = self.open.as_mut() else { return Err(Trouble::missing()) };
        perform(open, request)
    }
}

fn perform(open: &mut Open, request: &Request) -> Result<Reply, Trouble> {
    match request {
        Request::Open(_) => Ok(failed(Failure::Protocol, "a token is open already")),
        Request::Find(label) => keys::list(&open.session, |_| true, Some(label)).map(Reply::Ids),
        Request::Generate(key, label) => keys::generate(&open.session, key, label).map(Reply::Public),
        Request::Look(key) => {
            let handle = keys::find(&open.session, key)?;
            keys::public_half(&open.session, key, handle).map(Reply::Public)
        }
        Request::Erase(id) => {
            open.handles.retain(|key, _| key.id != *id);
            open.probes.retain(|key, _| key.id != *id);
            keys::erase(&open.session, id).map(|()| Reply::Done)
        }
        Request::List(prefix) => keys::list(&open.session, |id| id.starts_with(prefix), None).map(Reply::Ids),
        Request::Seal(key, nonce, aad, plaintext) => {
            operations::seal(open, key, nonce, aad, plaintext.expose()).map(Reply::Bytes)
        }
        Request::Unseal(key, aad, sealed) => operations::unseal(open, key, aad, sealed).map(Reply::Secret),
        Request::Derive(key) => operations::commitment_key(open, key).map(Reply::Secret),
        Request::Oaep(key, hash, label, text) => operations::oaep(open, key, *hash, label, text).map(Reply::Secret),
        Request::Sign(key, scheme, input) => operations::sign(open, key, *scheme, input).map(Reply::Bytes),
        Request::Mac(key, data) => operations::mac(open, key, data).map(Reply::Bytes),
    }
}
