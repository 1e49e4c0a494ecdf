//! What waits for people, for `keyreeve status`: a restore, emergencies, confirmations of incidents and
//! reviews that are late, each with the next step.

use keyreeve_client::Client;
use keyreeve_wire::backups::RestoredFrom;
use keyreeve_wire::cases::{Confirmation, Emergency, Incident};
use keyreeve_wire::names::EmergencyState;
use keyreeve_wire::reviews::Review;
use serde::Serialize;

/// How many of each are looked at (count).
const LIMIT: u32 = 1000;

/// Something that waits for somebody.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Waiting {
    /// What, in words.
    pub(crate) what: String,
    /// The command that leads on.
    pub(crate) next: String,
}

/// What waits, as far as whoever asks may list it.
pub(crate) async fn waiting(client: &Client) -> Vec<Waiting> {
    let mut all = Vec::new();
    if let Ok(backups) = client.backups().await {
        all.extend(backups.value.restored.as_ref().and_then(of_restore));
    }
    for state in [EmergencyState::Active, EmergencyState::UnderReview] {
        // Whoever may not list emergencies may list nothing of what follows.
        let Ok(page) = client.emergencies(Some(state), (None, Some(LIMIT))).await else { return all };
        all.extend(page.value.items.iter().map(|emergency| of_emergency(state, emergency)));
    }
    if let Ok(page) = client.incidents(Some(true), (None, Some(LIMIT))).await {
        all.extend(page.value.items.iter().flat_map(of_incident));
    }
    if let Ok(page) = client.reviews(Some(true), (None, Some(LIMIT))).await {
        all.extend(page.value.items.iter().filter(|review| review.overdue).map(of_review));
    }
    all
}

/// A restore that nobody took note of.
fn of_restore(restored: &RestoredFrom) -> Option<Waiting> {
    let waits = restored.acknowledged.is_none();
    let RestoredFrom { restored, sequence, made, .. } = restored;
    let what =
        format!("this server was restored on {restored} from backup {sequence} of {made}; nobody took note of it");
    waits.then(|| Waiting { what, next: "keyreeve backup acknowledge --reason TEXT".to_owned() })
}

fn late(overdue: bool) -> &'static str {
    if overdue { ", overdue" } else { "" }
}

fn of_emergency(state: EmergencyState, emergency: &Emergency) -> Waiting {
    let id = &emergency.id;
    let at = |time: Option<&_>| time.map_or_else(String::new, ToString::to_string);
    if state == EmergencyState::Active {
        let until = at(emergency.until.as_ref());
        let what = format!("emergency {id} is in force until {until} for {}", emergency.participants.join(", "));
        return Waiting { what, next: format!("keyreeve emergency end {id}") };
    }
    let owed = emergency.owed.iter().filter(|owed| owed.done.is_none()).count();
    let (due, late) = (at(emergency.review_due.as_ref()), late(emergency.overdue));
    let what = format!("emergency {id} is to be reviewed until {due}{late}; {owed} to be renewed before");
    let next = if owed == 0 { "review" } else { "show" };
    Waiting { what, next: format!("keyreeve emergency {next} {id}") }
}

fn of_incident(incident: &Incident) -> impl Iterator<Item = Waiting> {
    let id = incident.id.clone();
    let owed = incident.confirmations.iter().filter(|confirmation| confirmation.confirmed.is_none());
    owed.map(move |owed: &Confirmation| {
        let Confirmation { number, operation, by, due, .. } = owed;
        let (roles, late) = (owed.roles.join(" or "), late(owed.overdue));
        let what = format!("incident {id} waits until {due}{late} for {roles} to confirm {operation} by {by}");
        Waiting { what, next: format!("keyreeve incident confirm {id} {number}") }
    })
}

fn of_review(review: &Review) -> Waiting {
    let (id, open) = (&review.id, review.items.saturating_sub(review.decided));
    let (due, items) = (&review.due, review.items);
    let what = format!("review {id} is overdue since {due}; {open} of {items} rights are not decided on");
    Waiting { what, next: format!("keyreeve review show {id} --undecided") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TIME: &str = "2026-11-22T19:00:00.000Z";

    fn emergency(state: &str, owed: bool) -> Emergency {
        let owed = json!([{ "credentials_of": "pat", "done": (!owed).then_some(TIME) }]);
        serde_json::from_value(json!({
            "id": "emg_1", "state": state, "incident": "inc_1", "keys": [], "keyrings": [], "operations": [],
            "participants": ["pat"], "why": "w", "declared": TIME, "declared_by": "sue", "voters": [], "until": TIME,
            "uses": [], "owed": owed, "review_due": TIME, "overdue": true,
        }))
        .unwrap()
    }

    #[test]
    fn each_line_says_what_waits_and_what_to_do() {
        let active = of_emergency(EmergencyState::Active, &emergency("active", false));
        assert_eq!(active.next, "keyreeve emergency end emg_1");
        assert!(
            active.what.contains("is in force until 2026-11-22T19") && active.what.ends_with("for pat"),
            "{active:?}"
        );
        let over = |owed| of_emergency(EmergencyState::UnderReview, &emergency("under-review", owed));
        assert_eq!(over(true).next, "keyreeve emergency show emg_1");
        assert!(over(true).what.ends_with(", overdue; 1 to be renewed before"), "{:?}", over(true));
        assert_eq!(over(false).next, "keyreeve emergency review emg_1");

        let confirmation = |number: u32, done: bool| {
            json!({ "number": number, "operation": "key.rotate", "key": "key_1", "by": "sue", "roles": ["ciso"],
                    "due": TIME, "overdue": false, "confirmed": done.then_some(TIME) })
        };
        let incident: Incident = serde_json::from_value(json!({
            "id": "inc_1", "kind": "other", "keys": [], "reason": "r", "opened": TIME, "opened_by": "sue",
            "events": [], "confirmations": [confirmation(1, true), confirmation(2, false)],
        }))
        .unwrap();
        let owed: Vec<Waiting> = of_incident(&incident).collect();
        assert_eq!(owed.len(), 1, "what was confirmed waits for nobody");
        assert!(owed[0].what.ends_with("for ciso to confirm key.rotate by sue"), "{owed:?}");
        assert_eq!(owed[0].next, "keyreeve incident confirm inc_1 2");
    }
}
