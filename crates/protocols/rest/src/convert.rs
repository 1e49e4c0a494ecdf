//! Between the words of the wire and the types of the server.

use keyreeve_crypto::registry::Status;
use keyreeve_crypto::{AlgorithmEntry, KeyAlgorithm, Registry};
use keyreeve_engine::SealStatus;
use keyreeve_engine::ops::principals::PrincipalReply;
use keyreeve_engine::ops::system::RootState as RootInfo;
use keyreeve_engine::ops::tokens::TokenReply;
use keyreeve_engine::ops::{KeyReply, LabelPatch, Listing, SetPatch};
use keyreeve_http::{HttpCode, Problem};
use keyreeve_model::access::CertificateRule;
use keyreeve_model::destruction::ScheduledDestruction;
use keyreeve_model::imports::{Departure, Imported};
use keyreeve_model::key::{Origin, Scope, Transition};
use keyreeve_model::roots::Need;
use keyreeve_model::{
    DestructionRecord, EncryptionContext, KeyringRecord, Label, Name, Protection, RootUse, UnixMillis, VersionRecord,
};
use keyreeve_wire as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use wire::names::{AlgorithmStatus, RootState};
use wire::{Base64, Page, Pairs, Timestamp};

/// A defect: the lists of names differ. A test compares them.
pub(crate) fn defect() -> Problem {
    Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more")
}

/// The same name in the other floor's list.
pub(crate) fn named<T: FromStr>(name: &str) -> Result<T, Problem> {
    name.parse().map_err(|_| defect())
}

/// A field of a request as the type it must be.
pub(crate) fn field<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::invalid(format!("`{field}`: {error}")))
}

/// A field that may be missing.
pub(crate) fn optional<T: FromStr<Err: Display>>(name: &'static str, text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| field(name, text)).transpose()
}

/// A list without repetitions.
pub(crate) fn set<T: FromStr<Err: Display> + Ord>(
    name: &'static str,
    texts: &[String],
) -> Result<BTreeSet<T>, Problem> {
    let set: BTreeSet<T> = texts.iter().map(|text| field(name, text)).collect::<Result<_, _>>()?;
    if set.len() == texts.len() { Ok(set) } else { Err(Problem::invalid(format!("`{name}` repeats a value"))) }
}

/// Labels.
pub(crate) fn labels(pairs: &Pairs) -> Result<BTreeMap<Name, Label>, Problem> {
    pairs.0.iter().map(|(name, value)| Ok((field("labels", name)?, field("labels", value)?))).collect()
}

fn replaced_or_altered(name: &'static str, both: bool) -> Result<(), Problem> {
    let text = || format!("`{name}` replaces all {name}: give it without `add_`, `set_` and `remove_{name}`");
    if both { Err(Problem::invalid(text())) } else { Ok(()) }
}

/// How a list is altered: replaced, or by what comes and goes.
pub(crate) fn set_patch<T: FromStr<Err: Display> + Ord>(
    name: &'static str,
    replace: Option<&[String]>,
    (add, remove): (&[String], &[String]),
) -> Result<SetPatch<T>, Problem> {
    replaced_or_altered(name, replace.is_some() && !(add.is_empty() && remove.is_empty()))?;
    Ok(match replace {
        Some(all) => SetPatch::Replace(set(name, all)?),
        None => SetPatch::Alter { add: set(name, add)?, remove: set(name, remove)? },
    })
}

/// How labels are altered: replaced, or by what is set and goes.
pub(crate) fn label_patch(replace: Option<&Pairs>, set_: &Pairs, remove: &[String]) -> Result<LabelPatch, Problem> {
    replaced_or_altered("labels", replace.is_some() && !(set_.is_empty() && remove.is_empty()))?;
    Ok(match replace {
        Some(all) => LabelPatch::Replace(labels(all)?),
        None => LabelPatch::Alter { set: labels(set_)?, remove: set("remove_labels", remove)? },
    })
}

/// How the certificates of a principal are altered.
pub(crate) fn certificate_patch(
    replace: Option<Vec<wire::access::CertificateRule>>,
    (add, remove): (Vec<wire::access::CertificateRule>, Vec<wire::access::CertificateRule>),
) -> Result<SetPatch<CertificateRule>, Problem> {
    replaced_or_altered("certificates", replace.is_some() && !(add.is_empty() && remove.is_empty()))?;
    let rules = |rules: Vec<_>| rules.into_iter().map(certificate).collect();
    Ok(match replace {
        Some(all) => SetPatch::Replace(rules(all)),
        None => SetPatch::Alter { add: rules(add), remove: rules(remove) },
    })
}

/// An encryption context.
pub(crate) fn context(pairs: Pairs) -> Result<EncryptionContext, Problem> {
    EncryptionContext::try_from(pairs.0).map_err(|error| Problem::invalid(error.to_string()))
}

/// An instant of a request.
pub(crate) fn instant(name: &str, at: &str) -> Result<UnixMillis, Problem> {
    let wrong = || Problem::invalid(format!("`{name}` is an instant like `2026-11-22T09:00:00Z` (RFC 3339)"));
    UnixMillis::parse_rfc3339(at).ok_or_else(wrong)
}

/// An instant of an answer.
pub(crate) fn timestamp(at: UnixMillis) -> Timestamp {
    Timestamp(at.to_string())
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn pairs<'a, N: Display + 'a, V: Display + 'a>(items: impl IntoIterator<Item = (&'a N, &'a V)>) -> Pairs {
    items.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A page of anything.
pub(crate) fn page<T, W>(listing: Listing<T>, one: impl Fn(T) -> Result<W, Problem>) -> Result<Page<W>, Problem> {
    let items = listing.items.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(Page { items, next: listing.next })
}

pub(crate) fn keyring(keyring: &KeyringRecord) -> Result<wire::keyrings::Keyring, Problem> {
    Ok(wire::keyrings::Keyring {
        id: keyring.id.to_string(),
        name: keyring.name.to_string(),
        owner: keyring.owner.to_string(),
        description: keyring.description.to_string(),
        classification: named(keyring.classification.name())?,
        environment: named(keyring.environment.name())?,
        allow_deterministic: keyring.allow_deterministic,
        created: timestamp(keyring.created),
        kek_version: keyring.current_kek().map_or(0, |kek| kek.version),
        roots: root_use(&keyring.current_kek().map_or_else(RootUse::default, |kek| kek.wrapped.under()))?,
    })
}

pub(crate) const fn scope_from(scope: wire::names::Scope) -> Scope {
    match scope {
        wire::names::Scope::Both => Scope::Both,
        wire::names::Scope::ApplyOnly => Scope::ApplyOnly,
        wire::names::Scope::ProcessOnly => Scope::ProcessOnly,
    }
}

pub(crate) const fn protection(protection: wire::names::Protection) -> Protection {
    match protection {
        wire::names::Protection::Software => Protection::Software,
        wire::names::Protection::Hsm => Protection::Hsm,
    }
}

const fn scope(scope: Scope) -> wire::names::Scope {
    match scope {
        Scope::Both => wire::names::Scope::Both,
        Scope::ApplyOnly => wire::names::Scope::ApplyOnly,
        Scope::ProcessOnly => wire::names::Scope::ProcessOnly,
    }
}

pub(crate) fn summary(reply: &KeyReply) -> Result<wire::keys::KeySummary, Problem> {
    let (key, metadata) = (&reply.key, &reply.key.metadata);
    Ok(wire::keys::KeySummary {
        id: key.id().to_string(),
        keyring: reply.keyring.clone(),
        algorithm: named(key.algorithm().name())?,
        purpose: named(key.purpose().name())?,
        scope: scope(key.scope()),
        exportable: key.exportable(),
        protection: named(key.protection().name())?,
        state: named(reply.state().name())?,
        created: timestamp(key.created()),
        primary_version: key.primary(),
        version_count: u32::try_from(key.versions().len()).unwrap_or(u32::MAX),
        destruction: key.destruction().map(pending),
        deterministic_reason: key.deterministic_reason().map(ToString::to_string),
        aliases: texts(&metadata.aliases),
        labels: pairs(&metadata.labels),
        owner: metadata.owner.to_string(),
        custodians: texts(&metadata.custodians),
        consumers: texts(&metadata.consumers),
        holders: texts(&metadata.holders),
        classification: named(metadata.classification.name())?,
        environment: named(metadata.environment.name())?,
        description: metadata.description.to_string(),
    })
}

fn pending(pending: &ScheduledDestruction) -> wire::keys::PendingDestruction {
    wire::keys::PendingDestruction {
        requested: timestamp(pending.requested),
        due: timestamp(pending.due),
        requested_by: pending.requested_by.to_string(),
        reason: pending.reason.to_string(),
    }
}

pub(crate) fn key(reply: &KeyReply) -> Result<wire::keys::Key, Problem> {
    let versions = reply.key.versions().iter().map(|one| version(reply, one)).collect::<Result<_, _>>()?;
    let history = reply.key.history().iter().map(transition).collect::<Result<_, _>>()?;
    let departures = reply.key.departures().iter().map(departure).collect::<Result<_, _>>()?;
    Ok(wire::keys::Key { summary: summary(reply)?, versions, history, departures })
}

fn version(reply: &KeyReply, one: &VersionRecord) -> Result<wire::keys::KeyVersion, Problem> {
    let state = reply.key.version_state(one.version(), reply.at).map_err(|_| defect())?;
    let provenance = one.provenance();
    Ok(wire::keys::KeyVersion {
        version: one.version(),
        state: named(state.name())?,
        created: timestamp(one.created()),
        fingerprint: one.fingerprint().to_owned(),
        public_key: one.public_key().map(spki).transpose()?.map(Base64),
        reserved_messages: one.reserved_messages(),
        provenance: wire::keys::Provenance {
            origin: match provenance.origin {
                Origin::Generated => wire::names::Origin::Generated,
                Origin::Imported => wire::names::Origin::Imported,
            },
            module: provenance.module.clone(),
            by: provenance.by.to_string(),
            reason: provenance.reason.to_string(),
        },
        imported: one.imported().map(|import| imported(import, reply.at)).transpose()?,
        device: one.device().map(|place| place.root.to_string()),
    })
}

fn imported(import: &Imported, at: UnixMillis) -> Result<wire::transport::ImportedMaterial, Problem> {
    Ok(wire::transport::ImportedMaterial {
        method: named(import.method.name())?,
        statement: import.statement.to_string(),
        expires: import.expires.map(timestamp),
        erased: import.erased.map(timestamp),
        present: import.erased.is_none() && import.expires.is_none_or(|end| at < end),
    })
}

fn departure(left: &Departure) -> Result<wire::transport::Departure, Problem> {
    Ok(wire::transport::Departure {
        version: left.version,
        at: timestamp(left.at),
        by: left.by.to_string(),
        method: named(left.method.name())?,
        recipient: left.recipient.clone(),
        reason: left.reason.to_string(),
    })
}

/// A stored SubjectPublicKeyInfo as DER.
pub(crate) fn spki(hexadecimal: &str) -> Result<Vec<u8>, Problem> {
    hex::decode(hexadecimal).map_err(|_| defect())
}

fn transition(transition: &Transition) -> Result<wire::keys::Transition, Problem> {
    Ok(wire::keys::Transition {
        version: transition.version,
        from: named(transition.from.name())?,
        to: named(transition.to.name())?,
        at: timestamp(transition.at),
        by: transition.by.to_string(),
        reason: transition.reason.to_string(),
    })
}

pub(crate) fn destruction(record: &DestructionRecord) -> wire::keys::Destruction {
    let erased = |version: &keyreeve_model::destruction::ErasedVersion| wire::keys::ErasedVersion {
        version: version.version,
        fingerprint: version.fingerprint.clone(),
        wrapped_sha256: version.wrapped_sha256.clone(),
        device: version.device.as_ref().map(ToString::to_string),
    };
    wire::keys::Destruction {
        key: record.key.to_string(),
        keyring: record.keyring.to_string(),
        shard: record.shard,
        erased_epoch: record.erased_epoch,
        requested: timestamp(record.requested),
        requested_by: record.requested_by.to_string(),
        reason: record.reason.to_string(),
        destroyed: timestamp(record.destroyed),
        destroyed_by: record.destroyed_by.to_string(),
        versions: record.versions.iter().map(erased).collect(),
        verified: record.verified.clone(),
        verification_hash: record.verification_hash.clone(),
    }
}

pub(crate) fn algorithm(
    registry: &Registry,
    entry: &AlgorithmEntry,
    at: UnixMillis,
) -> Result<wire::keys::AlgorithmInfo, Problem> {
    let date = |millis: Option<i64>| millis.map(|millis| timestamp(UnixMillis(millis)));
    let algorithm: KeyAlgorithm = entry.algorithm;
    Ok(wire::keys::AlgorithmInfo {
        algorithm: named(algorithm.name())?,
        purposes: algorithm.purposes().iter().map(|one| named(one.name())).collect::<Result<_, _>>()?,
        strength_bits: entry.strength_bits,
        quantum_safe: entry.quantum_safe,
        fips_approved: entry.fips_approved,
        in_module: entry.in_module,
        status: match registry.status(algorithm, at.0) {
            Status::Acceptable => AlgorithmStatus::Acceptable,
            Status::Deprecated { .. } => AlgorithmStatus::Deprecated,
            Status::LegacyProcessOnly => AlgorithmStatus::LegacyProcessOnly,
            Status::Disallowed => AlgorithmStatus::Disallowed,
        },
        deprecated_from: date(entry.schedule.deprecated_from),
        no_new_keys_from: date(entry.schedule.no_new_keys_from),
        process_only_from: date(entry.schedule.process_only_from),
        disallowed_from: date(entry.schedule.disallowed_from),
    })
}

pub(crate) fn root(status: &SealStatus) -> wire::system::RootStatus {
    let told = |state| wire::system::RootStatus { state, given: None, needed: None, made: None };
    match status {
        SealStatus::NotInitialised { people } => {
            wire::system::RootStatus { needed: (!people).then_some(0), ..told(RootState::NotInitialised) }
        }
        SealStatus::Open => told(RootState::Open),
        SealStatus::Sealed { given, threshold, shares } => wire::system::RootStatus {
            state: RootState::Sealed,
            given: Some(*given),
            needed: Some(*threshold),
            made: Some(*shares),
        },
    }
}

pub(crate) fn root_info(root: &RootInfo) -> Result<wire::system::RootInfo, Problem> {
    Ok(wire::system::RootInfo {
        name: root.name.to_string(),
        kind: root.kind.to_owned(),
        custody: named(root.custody.name())?,
        status: self::root(&root.status),
    })
}

pub(crate) fn root_use(under: &RootUse) -> Result<wire::system::RootUse, Problem> {
    let roots = under.roots().iter().map(ToString::to_string).collect();
    Ok(wire::system::RootUse { need: named(under.need().name())?, roots })
}

pub(crate) fn root_use_from(under: &wire::system::RootUse) -> Result<RootUse, Problem> {
    let need = match under.need {
        wire::names::RootNeed::Any => Need::Any,
        wire::names::RootNeed::All => Need::All,
    };
    RootUse::new(need, set("roots", &under.roots)?).map_err(|error| Problem::invalid(format!("`roots`: {error}")))
}

pub(crate) fn token(reply: &TokenReply) -> wire::access::Token {
    let record = &reply.record;
    wire::access::Token {
        id: record.id.to_string(),
        principal: record.principal.to_string(),
        description: record.description.to_string(),
        created: timestamp(record.created),
        created_by: record.created_by.to_string(),
        expires: timestamp(record.expires),
        revoked: record.revoked.map(timestamp),
        valid: reply.valid,
        networks: texts(&record.networks),
        login: record.session.as_ref().map(|session| session.login.to_string()),
    }
}

pub(crate) fn principal(reply: &PrincipalReply) -> Result<wire::access::Principal, Problem> {
    let record = &reply.record;
    let rule = |rule: &CertificateRule| match rule {
        CertificateRule::Fingerprint(text) => wire::access::CertificateRule::Fingerprint(text.clone()),
        CertificateRule::DnsName(text) => wire::access::CertificateRule::DnsName(text.clone()),
        CertificateRule::Uri(text) => wire::access::CertificateRule::Uri(text.clone()),
    };
    Ok(wire::access::Principal {
        name: record.name.to_string(),
        kind: named(record.kind.name())?,
        roles: texts(&record.roles),
        labels: pairs(&record.labels),
        networks: texts(&record.networks),
        certificates: record.certificates.iter().map(rule).collect(),
        disabled: record.disabled,
        person: record.person.as_ref().map(ToString::to_string),
        created: timestamp(record.created),
        warnings: reply.warnings.clone(),
    })
}

pub(crate) fn certificate(rule: wire::access::CertificateRule) -> CertificateRule {
    match rule {
        wire::access::CertificateRule::Fingerprint(text) => CertificateRule::Fingerprint(text),
        wire::access::CertificateRule::DnsName(text) => CertificateRule::DnsName(text),
        wire::access::CertificateRule::Uri(text) => CertificateRule::Uri(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_audit::record as audit;
    use keyreeve_crypto::{HashAlgorithm, Purpose, SignatureScheme, WrappingMethod};
    use keyreeve_engine::ops::policies::Would;
    use keyreeve_model::login::MethodKind;
    use keyreeve_model::{Classification, Environment, State};
    use wire::names;

    fn wire_names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().copied().map(name).collect()
    }

    #[test]
    fn the_lists_of_names_are_those_of_the_server() {
        let pairs: Vec<(Vec<&str>, Vec<&str>)> = vec![
            (wire_names(names::Algorithm::ALL, |n| n.name()), wire_names(KeyAlgorithm::ALL, |n| n.name())),
            (wire_names(names::Purpose::ALL, |n| n.name()), wire_names(Purpose::ALL, |n| n.name())),
            (wire_names(names::WrappingMethod::ALL, |n| n.name()), wire_names(WrappingMethod::ALL, |n| n.name())),
            (wire_names(names::Scheme::ALL, |n| n.name()), wire_names(SignatureScheme::ALL, |n| n.name())),
            (wire_names(names::Hash::ALL, |n| n.name()), wire_names(HashAlgorithm::ALL, |n| n.name())),
            (wire_names(names::Protection::ALL, |n| n.name()), wire_names(&Protection::ALL, Protection::name)),
            (wire_names(names::State::ALL, |n| n.name()), wire_names(&State::ALL, State::name)),
            (
                wire_names(names::Classification::ALL, |n| n.name()),
                wire_names(&Classification::ALL, Classification::name),
            ),
            (wire_names(names::Environment::ALL, |n| n.name()), wire_names(&Environment::ALL, Environment::name)),
            (wire_names(names::ShadowVerdict::ALL, |n| n.name()), wire_names(&Would::ALL, Would::name)),
            (wire_names(names::LoginKind::ALL, |n| n.name()), MethodKind::NAMES.to_vec()),
        ];
        for (wire, server) in pairs {
            assert_eq!(wire, server);
        }
    }

    fn json(value: impl serde::Serialize) -> String {
        serde_json::to_string(&value).unwrap().trim_matches('"').to_owned()
    }

    #[test]
    fn names_without_a_list_are_those_of_the_server_too() {
        use keyreeve_model::PrincipalKind;
        for scope_ in [Scope::Both, Scope::ApplyOnly, Scope::ProcessOnly] {
            assert_eq!(json(scope_), scope(scope_).name());
            assert_eq!(scope_from(scope(scope_)), scope_);
        }
        for kind in [PrincipalKind::Person, PrincipalKind::Service] {
            assert!(kind.name().parse::<names::PrincipalKind>().is_ok());
        }
        use audit::{Class, Method};
        for class in [Class::Read, Class::Use, Class::Change, Class::Access, Class::System] {
            assert!(json(class).parse::<names::Class>().is_ok());
        }
        for method in [Method::Token, Method::Mtls, Method::Share, Method::System, Method::Anonymous] {
            assert!(json(method).parse::<names::Method>().is_ok());
        }
    }

    #[test]
    fn lists_do_not_repeat() {
        let texts = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(set::<Name>("aliases", &texts(&["a", "b"])).is_ok());
        assert_eq!(set::<Name>("aliases", &texts(&["a", "a"])).unwrap_err().code(), "invalid-request");
        assert_eq!(set::<Name>("aliases", &texts(&["a b"])).unwrap_err().code(), "invalid-request");
    }

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(instant("at", "1970-01-01T01:00:00+01:00").unwrap(), UnixMillis(0));
        assert_eq!(instant("at", "1970-01-01").unwrap_err().code(), "invalid-request");
    }
}
