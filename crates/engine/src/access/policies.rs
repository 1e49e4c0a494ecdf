//! What is allowed: the policies of the deployment and the shipped ones, compiled.

use keyreeve_model::change::NamedRow;
use keyreeve_model::record::{BadRecord, RecordSealer, Table, open};
use keyreeve_model::{Name, PolicyRecord};
use keyreeve_policy::{DecisionCache, PolicySet};
use std::collections::HashMap;
use std::sync::Arc;

use super::all_named;
use crate::error::{Code, Error};
use crate::integrity::{Source, Told, from_history};

/// What applies while nobody knows what a damaged policy said: it may have forbidden anything.
const IN_DOUBT: &str = r#"
@id("quarantine.doubt")
@description("A policy is damaged and cannot be known: everything is refused but what mends it.")
forbid (principal, action, resource)
unless {
  action in [
    Keyreeve::Action::"self", Keyreeve::Action::"login", Keyreeve::Action::"bootstrap",
    Keyreeve::Action::"integrity.status", Keyreeve::Action::"integrity.list", Keyreeve::Action::"integrity.describe",
    Keyreeve::Action::"integrity.scan", Keyreeve::Action::"integrity.release",
    Keyreeve::Action::"integrity.quarantine", Keyreeve::Action::"job.step", Keyreeve::Action::"system.seal"
  ]
};
"#;

/// A policy's row, opened.
fn opened(sealer: &dyn RecordSealer, row: &NamedRow) -> Result<PolicyRecord, BadRecord> {
    let record: PolicyRecord = open(sealer, Table::Policies, row.name.as_str().as_bytes(), &row.record)?;
    if record.name == row.name { Ok(record) } else { Err(BadRecord::Tampered { table: Table::Policies.name() }) }
}

/// A policy whose row was checked.
pub(crate) struct HeldPolicy {
    pub(crate) record: PolicyRecord,
}

/// All policies at one moment, and the decisions made by them.
#[derive(Clone)]
pub(crate) struct Policies {
    pub(crate) stored: Arc<HashMap<Name, Arc<HeldPolicy>>>,
    pub(crate) cache: Arc<DecisionCache>,
    /// Decisions remembered at most.
    kept: usize,
}

impl Policies {
    /// Reads and checks every policy. A stored policy that does not compile refuses everything: better closed than open
    /// by accident. In place of a damaged one applies what the newest version of the policies has under its name; where
    /// that does not tell, nobody knows what it forbade, and everything is refused but what mends it.
    pub(super) async fn load(source: Source<'_>, compiler: &Compiler) -> Result<Self, Error> {
        let (mut stored, mut mended, mut doubt) = (HashMap::new(), Vec::new(), false);
        for row in all_named(|page| source.store.policies(page)).await? {
            let place = (Table::Policies, row.name.as_str().as_bytes());
            if let Some(record) = source.sound(place, opened(source.sealer, &row))? {
                stored.insert(row.name, Arc::new(HeldPolicy { record }));
                continue;
            }
            match from_history(source.store, source.sealer, &row.name).await? {
                Told::Text(text) => mended.push((row.name.to_string(), text)),
                Told::Nothing => {}
                Told::Unknown => doubt = true,
            }
        }
        for name in stored.keys().filter(|name| compiler.is_built_in(name.as_str())) {
            let shown = compiler.shown(name.as_str(), |other| stored.keys().any(|name| name.as_str() == other));
            tracing::error!(
                %name, %shown,
                "a policy of this name is shipped now: the deployment's own applies as well, under another name; \
                 put it under a name of its own, and delete this one"
            );
        }
        let texts = stored.values().map(|held| (held.record.name.to_string(), held.record.text.clone()));
        let mut texts: Vec<(String, String)> = texts.chain(mended).collect();
        if doubt {
            tracing::error!("a damaged policy cannot be known: everything is refused but what mends it");
            let mut name = "quarantine".to_owned();
            while texts.iter().any(|(taken, _)| *taken == name) {
                name.push_str(".x");
            }
            texts.push((name, IN_DOUBT.to_owned()));
        }
        let set = Arc::new(compiler.compile(texts)?);
        let kept = compiler.decisions_kept;
        Ok(Self { stored: Arc::new(stored), cache: Arc::new(DecisionCache::new(set, kept)), kept })
    }

    /// The same policies with no decision remembered.
    pub(super) fn forgetting(&self) -> Self {
        let cache = DecisionCache::new(self.cache.shared_policies(), self.kept);
        Self { stored: Arc::clone(&self.stored), cache: Arc::new(cache), kept: self.kept }
    }
}

/// Turns policy texts into a policy set: the shipped ones, those of the server's mode, and the deployment's own.
pub(crate) struct Compiler {
    schema: keyreeve_policy::Schema,
    built_in: Vec<(String, String)>,
    /// Decisions remembered by what is compiled (count); roughly 500 bytes each.
    pub(crate) decisions_kept: usize,
}

impl Compiler {
    /// `extra` are policies of the server's mode, for instance the one that lets the developer do everything in `dev`.
    pub(crate) fn new(extra: &[(String, String)], decisions_kept: usize) -> Result<Self, Error> {
        let schema = keyreeve_policy::Schema::generate(&crate::catalogue::actions()).map_err(Error::internal)?;
        let shipped =
            keyreeve_policy::shipped::documents().into_iter().map(|(name, text)| (name.to_string(), text.to_owned()));
        Ok(Self { schema, built_in: shipped.chain(extra.iter().cloned()).collect(), decisions_kept })
    }

    pub(super) fn schema(&self) -> &keyreeve_policy::Schema {
        &self.schema
    }

    pub(crate) fn built_in(&self) -> &[(String, String)] {
        &self.built_in
    }

    /// True when a name belongs to a shipped policy, which cannot be replaced through the interface.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.built_in.iter().any(|(shipped, _)| shipped == name)
    }

    /// The name under which an own policy applies and is shown: the one it is stored under, unless a policy of
    /// that name came to be shipped.
    pub(crate) fn shown(&self, name: &str, taken: impl Fn(&str) -> bool) -> String {
        let mut shown = name.to_owned();
        while self.is_built_in(&shown) || (shown != name && taken(&shown)) {
            shown.push_str(".own");
        }
        shown
    }

    pub(crate) fn compile(&self, own: impl IntoIterator<Item = (String, String)>) -> Result<PolicySet, Error> {
        let named = |(name, text): (String, String)| {
            let name = keyreeve_policy::PolicyName::new(&name).map_err(|error| Error::invalid(error.to_string()))?;
            Ok::<_, Error>((name, text))
        };
        // What was put under a name before a policy of that name was shipped stays in force: only its name makes way,
        // for two of a name would refuse everything.
        let own: Vec<(String, String)> = own.into_iter().collect();
        let taken = |shown: &str| own.iter().any(|(name, _)| name == shown);
        let own = own.iter().map(|(name, text)| (self.shown(name, taken), text.clone()));
        let texts = self.built_in.iter().cloned().chain(own).map(named).collect::<Result<Vec<_>, _>>()?;
        PolicySet::compile(&self.schema, texts).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::new(Code::InvalidPolicy, lines.join("\n"))
        })
    }
}
