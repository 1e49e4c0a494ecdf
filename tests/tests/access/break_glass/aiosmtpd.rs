//! Emergencies by mail, with aiosmtpd: whatever else the mailbox is for.

use keyreeve_tests::{Layout, Production};
use serde_json::json;

use super::{House, text};
use crate::notices::aiosmtpd::{PASSWORD, channel, header, prepare};
use crate::notices::private;

#[test]
fn every_step_of_an_emergency_is_mailed() {
    let home = tempfile::tempdir().unwrap();
    let Some(receiver) = prepare(home.path()) else { return };
    private(&home.path().join("mail.password"), PASSWORD);
    let more = channel(receiver.port(), "mail", "password_file = \"mail.password\"\nonly = [\"test\"]");
    let mut production = Production::prepare(home.path(), &Layout { more, ..Layout::default() });
    let up = production.start_new();
    let mut house = House::build(&production, &up);
    let mailed = |kind: &str| {
        let mail = receiver.next_that(|mail| mail.to_string().contains("emergency"));
        assert_eq!(header(&mail, "keyreeve-kind"), kind, "{mail}");
        mail
    };
    let approval = house.waiting();
    let _ = mailed("emergency-declared");
    house.carl.approve(&approval);
    house.lea.approve(&approval);
    let emergency = house.declare().ok();
    let id = text(&emergency, "id").to_owned();
    let active = mailed("emergency-active");
    let words = active["text"].as_str().unwrap();
    assert!(words.contains(&id) && words.contains("the restore must run tonight"), "{active}");
    assert_eq!((active["encrypted"].as_bool(), active["authenticated"].as_bool()), (Some(true), Some(true)));
    let decrypted = house.decrypt();
    let record = decrypted.record().unwrap().to_owned();
    let _ = decrypted.ok();
    assert!(mailed("emergency-used")["text"].as_str().unwrap().contains(&record));
    let _ = house.carl.api.post(&format!("/v1/emergencies/{id}/end"), &json!({})).ok();
    assert!(mailed("emergency-ended")["text"].as_str().unwrap().contains(&house.key));
    assert!(up.server.terminate().success());
}
