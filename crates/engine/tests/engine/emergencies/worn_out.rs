//! What is written down does not stand in the way of whoever revokes, and what was taken back settles nothing.

use keyreeve_engine::ops::lifecycle::Compromise;
use keyreeve_model::incident::{EVENTS_MAX, Incident};

use super::*;

async fn open_incidents(house: &House, who: &Who) -> Vec<Incident> {
    let list = incidents::List { open: Some(true), after: None, limit: 1000 };
    ask_as(house, who, list).await.items.into_iter().map(|row| row.incident).collect()
}

#[tokio::test]
async fn a_full_incident_keeps_nobody_from_revoking_the_key() {
    let night = Night::fallen().await;
    let (house, sue) = (&night.council.house, &night.council.sue);
    for _ in 0..EVENTS_MAX {
        ask_as(house, &sue.who, incidents::Note { incident: night.incident, text: label("and so on") }).await;
    }
    let more = incidents::Note { incident: night.incident, text: label("one more") };
    assert_eq!(house.code_for(&sue.who, more).await, Code::WrongState);
    house.clock.turn(1);
    let compromise =
        |version| Compromise { key: night.key.clone(), version, risk_accepted: false, reason: label("leaked") };
    ask_as(house, &sue.who, compromise(None)).await;
    let open = open_incidents(house, &sue.who).await;
    assert_eq!(open.iter().map(|incident| incident.events().len()).collect::<Vec<_>>(), [EVENTS_MAX, 1]);
    assert_eq!(open[0].keys(), open[1].keys());
    // What follows is written down there, and not in yet another one.
    night.rotated().await;
    let open = open_incidents(house, &sue.who).await;
    assert_eq!((open.len(), open[1].events().len(), open[1].owed().count()), (2, 2, 1));
}

#[tokio::test]
async fn a_destruction_that_was_taken_back_renewed_no_key() {
    let night = Night::fallen().await;
    let (house, council) = (&night.council.house, &night.council);
    let id = night.in_force().await.id();
    night.verified().await;
    assert_eq!(night.decrypts().await, None);
    let ended = ask_as(house, &council.carl.who, emergencies::End { emergency: id }).await.emergency;
    house.clock.turn(1000);
    night.pat_is_disabled().await;
    let approval = council.ann.waits(house, schedule(&night.key)).await;
    for member in [&council.sue, &council.carl, &council.lea, &council.owen] {
        if house.shown(approval).await.state() == keyreeve_model::approval::ProposalState::Waiting {
            let _ = member.vote(house, approval, keyreeve_model::approval::Decision::Approve).await;
        }
    }
    ask_as(house, &council.ann.who, schedule(&night.key)).await;
    house.pass(60_000).await;
    ask_as(house, &council.ann.who, destruction::Cancel { key: night.key.clone(), reason: label("not after all") })
        .await;
    night.shown_by(&night.dora).await;
    assert_eq!(house.code_for(&night.dora.who, night.review(&ended)).await, Code::WrongState);
    night.rotated().await;
    house.clock.turn(1000);
    ask_as(house, &night.dora.who, night.review(&ended)).await;
}
