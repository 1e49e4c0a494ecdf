//! What is out of the ordinary: holds, incidents, emergencies.

use keyreeve_engine::ops::{emergencies, holds, incidents};
use keyreeve_engine::{KeyRef, KeyringRef};
use keyreeve_model::KeyId;
use keyreeve_model::ids::{EmergencyId, HoldId, IncidentId};
use keyreeve_model::incident::IncidentKind;

use super::{Case, Stage, reason};
use crate::support::name;

/// None exists where no rules are in force: who may not ask is refused before that is looked at.
const UNKNOWN: EmergencyId = EmergencyId::from_bytes([7; 16]);

cases! {
    "hold.place" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, key.clone(), holds::Place { key, matter: reason() }).await
    };
    "hold.place-on-keyring" => |stage, who| {
        // Of its own: what is in the other keyrings must stay destructible for the other cases.
        let keyring = stage.fresh_keyring().await;
        stage.run(who, keyring.0, holds::PlaceOnKeyring { keyring: keyring.1, matter: reason() }).await
    };
    "hold.release" => |stage, who| {
        let hold = hold(stage).await;
        stage.run(who, hold, holds::Release { hold, reason: reason() }).await
    };
    "hold.list" => |stage, who| {
        stage.run(who, "all", holds::List { key: None, released: true, after: None, limit: 10 }).await
    };
    "incident.open" => |stage, who| stage.run(who, "", opening(&stage.aead)).await;
    "incident.list" => |stage, who| {
        stage.run(who, "all", incidents::List { open: None, after: None, limit: 10 }).await
    };
    "incident.describe" => |stage, who| {
        let incident = incident(stage).await;
        stage.run(who, incident, incidents::Describe { incident }).await
    };
    "incident.note" => |stage, who| {
        let incident = incident(stage).await;
        stage.run(who, incident, incidents::Note { incident, text: reason() }).await
    };
    "incident.confirm" => |stage, who| {
        let incident = incident(stage).await;
        stage.run(who, incident, incidents::Confirm { incident, number: 1 }).await
    };
    "incident.close" => |stage, who| {
        let incident = incident(stage).await;
        stage.run(who, incident, incidents::Close { incident, text: reason() }).await
    };
    "emergency.declare" => |stage, who| {
        let declare = emergencies::Declare {
            incident: incident(stage).await,
            keys: [stage.key_id(&stage.aead)].into(),
            keyrings: Default::default(),
            operations: ["key.decrypt".to_owned()].into(),
            participants: [name("developer")].into(),
            minutes: 30,
            why: reason(),
        };
        stage.run(who, "new", declare).await
    };
    "emergency.end" => |stage, who| stage.run(who, UNKNOWN, emergencies::End { emergency: UNKNOWN }).await;
    "emergency.list" => |stage, who| {
        stage.run(who, "all", emergencies::List { state: None, after: None, limit: 10 }).await
    };
    "emergency.describe" => |stage, who| {
        stage.run(who, UNKNOWN, emergencies::Describe { emergency: UNKNOWN }).await
    };
    "emergency.review" => |stage, who| {
        let review = emergencies::Review { emergency: UNKNOWN, text: reason(), dispositions: Default::default() };
        stage.run(who, UNKNOWN, review).await
    };
}

fn opening(key: &KeyRef) -> incidents::Open {
    incidents::Open { kind: IncidentKind::Other, keys: vec![key.clone()], ticket: None, reason: reason() }
}

async fn hold(stage: &Stage) -> HoldId {
    let key = stage.fresh().await;
    stage.house.ask(holds::Place { key, matter: reason() }).await.0.id()
}

/// About a key of its own: an open incident alters what may be done with the key.
async fn incident(stage: &Stage) -> IncidentId {
    let key = stage.fresh().await;
    stage.house.ask(opening(&key)).await.incident.id()
}

impl Stage {
    fn key_id(&self, key: &KeyRef) -> KeyId {
        match key {
            KeyRef::Id(id) => *id,
            KeyRef::Alias(alias) => panic!("{alias} is an alias"),
        }
    }

    /// A keyring of its own: its id as records name it, and as callers do.
    pub(super) async fn fresh_keyring(&self) -> (String, KeyringRef) {
        let create = keyreeve_engine::ops::keyrings::Create {
            name: name(&self.fresh_name("keyring")),
            owner: reason(),
            description: reason(),
            classification: Default::default(),
            environment: Default::default(),
            allow_deterministic: false,
            roots: None,
        };
        let made = self.house.ask(create).await;
        (made.keyring.id.to_string(), KeyringRef::Id(made.keyring.id))
    }
}
