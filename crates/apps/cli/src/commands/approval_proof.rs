//! Verifying what is stored of an approval: that what people consented to is what is shown, and that the audit log says
//! the same.

use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use keyreeve_audit::{Record, VerifierKey};
use keyreeve_client::Client;
use keyreeve_crypto::digest::sha256;
use keyreeve_model::approval::{Request, TargetRef};
use keyreeve_wire::approvals::{Approval, Vote};
use serde::Serialize;
use serde_json::{Value, json};

use super::audit::{Keys, check_proof};
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::out::{Style, rows};

/// Verify that the votes on a request are for what is shown, and stand in the audit log
///
/// Computes the digest of the request anew from what is shown of it; looks for each vote, and for the execution,
/// whether the audit log has its record, signed, and whether that says the same; and whether an authenticator was asked
/// to sign for this request and this decision. What only the server can check, it says. Ends with 7 where something is
/// not as it must be.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve approval verify apr_01jd... --vkey log.vkey")]
pub(crate) struct Verify {
    /// The request's id, as `keyreeve approval list` shows it
    approval: String,
    #[command(flatten)]
    keys: Keys,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Right,
    Wrong,
    /// It cannot be checked here.
    NotHere,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    verdict: Verdict,
    detail: String,
}

/// Why something is not right: it is wrong, or cannot be checked here.
#[derive(Debug)]
struct Unproved(Verdict, String);

fn wrong(detail: impl Into<String>) -> Unproved {
    Unproved(Verdict::Wrong, detail.into())
}

fn check(what: impl Into<String>, found: Result<String, Unproved>) -> Check {
    let (verdict, detail) = match found {
        Ok(detail) => (Verdict::Right, detail),
        Err(Unproved(verdict, detail)) => (verdict, detail),
    };
    Check { what: what.into(), verdict, detail }
}

impl Verify {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let (client, pinned) = (app.client()?, self.keys.pinned(app)?);
        let approval = client.approval(&self.approval).await?.value;
        if pinned.is_empty() {
            app.out.warn("the log's key comes from the server itself: give it with --vkey or in the profile");
        }
        let mut checks = vec![check("request", digest(&approval))];
        for vote in &approval.votes {
            let who = format!("{} by {}", vote.decision, vote.by);
            checks.push(check(format!("{who}: record"), of_vote(&client, &pinned, &approval, vote).await?));
            checks.push(Check { what: format!("{who}: factor"), ..evidence(&approval, vote) });
        }
        if let Some(record) = &approval.executed_as {
            checks.push(check("execution: record", of_execution(&client, &pinned, &approval, record).await?));
        }
        let right = checks.iter().all(|check| check.verdict != Verdict::Wrong);
        let value = json!({
            "approval": approval.id,
            "verified": right,
            "pinned": !pinned.is_empty(),
            "checks": &checks,
        });
        app.show(&value, |_| rows(["what", "verdict", "detail"], checks.iter().map(|check| row(app, check))))?;
        if right {
            return Ok(Exit::Done);
        }
        Err(Failure::new(Exit::Integrity, format!("{} is not what was consented to", approval.id))
            .next("keep this answer, and compare it with the audit log: `keyreeve audit verify`"))
    }
}

fn row(app: &App, check: &Check) -> [String; 3] {
    let verdict = match check.verdict {
        Verdict::Right => app.out.styled(Style::Good, "right", false),
        Verdict::Wrong => app.out.styled(Style::Bad, "WRONG", false),
        Verdict::NotHere => "not here".to_owned(),
    };
    [check.what.clone(), verdict, check.detail.clone()]
}

/// Computes the digest of what is shown.
fn digest(approval: &Approval) -> Result<String, Unproved> {
    let told = |error: &dyn std::fmt::Display| wrong(format!("what is shown has no digest: {error}"));
    let target =
        |target: &keyreeve_wire::approvals::TargetRef| TargetRef { kind: target.kind.clone(), id: target.id.clone() };
    let request = Request {
        operation: approval.operation.parse().map_err(|error| told(&error))?,
        target: target(&approval.target),
        second: approval.second.as_ref().map(target),
        base_revision: approval.base_revision,
        form: approval.form.clone(),
    };
    let deployment = approval.deployment.parse().map_err(|error| told(&error))?;
    let proposer = approval.proposer.parse().map_err(|error| told(&error))?;
    let digest = hex::encode(request.digest(deployment, &proposer).map_err(|error| told(&error))?);
    if digest == approval.digest {
        return Ok(format!("its digest is {digest}"));
    }
    Err(wrong(format!("the digest of what is shown is {digest}, and {} was consented to", approval.digest)))
}

/// Fetches a record with its proof, and opens it. The outer error is that the server does not answer.
async fn proved(client: &Client, pinned: &[VerifierKey], id: &str) -> Result<Result<Record, Unproved>, Failure> {
    let proof = match client.prove_audit(id).await.map_err(Failure::from) {
        Ok(answer) => answer.value,
        Err(failure) if failure.exit == Exit::Absent => {
            return Ok(Err(wrong(format!("the audit log has no record {id}"))));
        }
        Err(failure) if failure.exit == Exit::Refused => {
            let detail = format!("record {id} is of somebody else: an auditor can check it");
            return Ok(Err(Unproved(Verdict::NotHere, detail)));
        }
        Err(failure) => return Err(failure),
    };
    if let Err(failure) = check_proof(&proof, pinned, id) {
        return Ok(Err(wrong(failure.what)));
    }
    Ok(Record::decode(proof.record.as_bytes()).map_err(|error| wrong(error.to_string())))
}

/// What a record must say.
struct Wanted<'a> {
    operation: &'a str,
    by: &'a str,
    details: &'a [(&'a str, &'a str)],
}

/// Looks for a record in the log that says what it must.
async fn stands(
    client: &Client,
    pinned: &[VerifierKey],
    id: &str,
    wanted: &Wanted<'_>,
) -> Result<Result<String, Unproved>, Failure> {
    Ok(proved(client, pinned, id).await?.and_then(|record| says(&record, wanted)))
}

fn says(record: &Record, wanted: &Wanted<'_>) -> Result<String, Unproved> {
    let (id, operation, by) = (record.id, &record.operation, &record.actor.principal);
    if operation != wanted.operation || by != wanted.by {
        return Err(wrong(format!("record {id} is of {operation} by {by}")));
    }
    for (name, value) in wanted.details {
        let told = record.details.get(*name).map_or("nothing", String::as_str);
        if told != *value {
            return Err(wrong(format!("record {id} has {told} for `{name}`, not {value}")));
        }
    }
    Ok(format!("record {id} is in the log"))
}

async fn of_vote(
    client: &Client,
    pinned: &[VerifierKey],
    approval: &Approval,
    vote: &Vote,
) -> Result<Result<String, Unproved>, Failure> {
    let details = [("approval", &*approval.id), ("digest", &*approval.digest), ("decision", vote.decision.name())];
    let wanted = Wanted { operation: "approval.vote", by: &vote.by, details: &details };
    stands(client, pinned, &vote.record, &wanted).await
}

async fn of_execution(
    client: &Client,
    pinned: &[VerifierKey],
    approval: &Approval,
    id: &str,
) -> Result<Result<String, Unproved>, Failure> {
    let details = [("approval", &*approval.id), ("digest", &*approval.digest)];
    let wanted = Wanted { operation: &approval.operation, by: &approval.proposer, details: &details };
    stands(client, pinned, id, &wanted).await
}

/// Whether the second factor was shown for this decision on this request, as far as that can be told without secrets.
fn evidence(approval: &Approval, vote: &Vote) -> Check {
    let parts: Vec<&str> = vote.evidence.split(':').collect();
    match parts.as_slice() {
        ["webauthn", random, _, client_data, _, _] => {
            let signed = asked_to_sign(client_data);
            let wanted = challenge(random, &approval.digest, vote.decision.name());
            check(
                "",
                match (signed, wanted) {
                    (Some(signed), Some(wanted)) if signed == wanted => {
                        Ok("an authenticator was asked to sign for this; who has its public key can check that"
                            .to_owned())
                    }
                    _ => Err(wrong("what the authenticator was asked to sign is not this")),
                },
            )
        }
        ["totp", step, _] => {
            let detail = format!("a one-time code of step {step}: only the server can check it");
            Check { what: String::new(), verdict: Verdict::NotHere, detail }
        }
        _ => check("", Err(wrong("there is no evidence that a second factor was shown for this"))),
    }
}

/// What a vote's authenticator signs: the random bytes together with the decision on the request.
fn challenge(random: &str, digest: &str, decision: &str) -> Option<[u8; 32]> {
    const DOMAIN: &[u8] = b"keyreeve/vote/1";
    let (random, digest) = (hex::decode(random).ok()?, hex::decode(digest).ok()?);
    let voted = sha256(&[DOMAIN, &digest, decision.as_bytes()].concat());
    Some(sha256(&[DOMAIN, &random, &voted].concat()))
}

/// The challenge in what an authenticator signed (WebAuthn, section 5.8.1).
fn asked_to_sign(client_data: &str) -> Option<[u8; 32]> {
    let json: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(client_data.as_bytes()).ok()?).ok()?;
    let challenge = BASE64URL_NOPAD.decode(json.get("challenge")?.as_str()?.as_bytes()).ok()?;
    challenge.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval() -> Approval {
        let request = json!({
            "id": "apr_01jd0000000000000000000000", "state": "approved", "proposer": "ann", "operation": "key.rotate",
            "deployment": keyreeve_model::ids::DeploymentId::from_bytes([7; 16]).to_string(),
            "target": {"kind": "key", "id": "key_1"}, "form": {"reason": "due"}, "digest": "", "rules": [], "seats": [],
            "missing": [], "shown": [], "votes": [], "created": "2026-01-01T00:00:00Z",
            "expires": "2026-01-01T00:00:00Z", "mfa_seconds": 300,
        });
        let mut approval: Approval = serde_json::from_value(request).unwrap();
        let Unproved(_, told) = digest(&approval).unwrap_err();
        approval.digest = told.split_whitespace().nth(7).unwrap().trim_end_matches(',').to_owned();
        approval
    }

    fn vote(evidence: String) -> Vote {
        let vote = json!({
            "by": "carl", "decision": "approve", "at": "2026-01-01T00:00:00Z", "proof": "webauthn", "record": "rec_1",
            "evidence": evidence,
        });
        serde_json::from_value(vote).unwrap()
    }

    #[test]
    fn the_digest_covers_everything_that_is_asked_for() {
        let known = approval();
        assert!(digest(&known).is_ok());
        let other = |alter: fn(&mut Approval)| {
            let mut altered = known.clone();
            alter(&mut altered);
            digest(&altered)
        };
        for altered in [
            other(|approval| approval.proposer = "bob".to_owned()),
            other(|approval| approval.operation = "key.suspend".to_owned()),
            other(|approval| approval.target.id = "key_2".to_owned()),
            other(|approval| approval.base_revision = Some(1)),
            other(|approval| approval.form = json!({"reason": "due", "more": true})),
            other(|approval| approval.second = Some(approval.target.clone())),
            other(|approval| approval.deployment = keyreeve_model::ids::DeploymentId::from_bytes([8; 16]).to_string()),
            other(|approval| approval.deployment.clear()),
        ] {
            assert!(altered.is_err());
        }
    }

    #[test]
    fn what_an_authenticator_signed_is_for_this_decision_on_this_request() {
        let (approval, random) = (approval(), hex::encode([5; 32]));
        let signed = |digest: &str, decision: &str| {
            let challenge = BASE64URL_NOPAD.encode(&challenge(&random, digest, decision).unwrap());
            let data = json!({ "type": "webauthn.get", "challenge": challenge }).to_string();
            format!("webauthn:{random}:id:{}:auth:sig", BASE64URL_NOPAD.encode(data.as_bytes()))
        };
        let verdict = |evidence: String| evidence_of(&approval, evidence);
        assert_eq!(verdict(signed(&approval.digest, "approve")), Verdict::Right);
        assert_eq!(verdict(signed(&approval.digest, "reject")), Verdict::Wrong);
        assert_eq!(verdict(signed(&"00".repeat(32), "approve")), Verdict::Wrong);
        assert_eq!(verdict("webauthn:x:y:z:a:b".to_owned()), Verdict::Wrong);
        assert_eq!(verdict("totp:7:00".to_owned()), Verdict::NotHere);
        assert_eq!(verdict(String::new()), Verdict::Wrong);
    }

    fn evidence_of(approval: &Approval, text: String) -> Verdict {
        evidence(approval, &vote(text)).verdict
    }
}
