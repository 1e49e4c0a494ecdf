//! What is out of the ordinary: holds, incidents, emergencies.

use super::{ACCESS, CHANGE, READ};

super::rows! {
    HOLD_PLACE = "hold.place", Key, [HOLD], CHANGE, Open, "Keeps a key from being destroyed, for legal reasons.";
    HOLD_PLACE_ON_KEYRING = "hold.place-on-keyring", Keyring, [HOLD], CHANGE, Open,
        "Keeps every key of a keyring from being destroyed, those made later included.";
    HOLD_RELEASE = "hold.release", Case, [HOLD], CHANGE, Open, "Ends a hold.";
    HOLD_LIST = "hold.list", Case, [HOLD, READ], READ, Open, "Lists holds.";
    INCIDENT_OPEN = "incident.open", Case, [EMERGENCY], CHANGE, Open, "Opens an incident.";
    INCIDENT_LIST = "incident.list", Case, [EMERGENCY, AUDIT], READ, Open, "Lists incidents.";
    INCIDENT_DESCRIBE = "incident.describe", Case, [EMERGENCY, AUDIT], READ, Open, "Shows an incident.";
    INCIDENT_NOTE = "incident.note", Case, [EMERGENCY], CHANGE, Open, "Writes something down in an incident.";
    INCIDENT_CONFIRM = "incident.confirm", Case, [EMERGENCY, APPROVE], CHANGE, Open,
        "Confirms, as a second person, what was done in an incident on one person's authority.";
    INCIDENT_CLOSE = "incident.close", Case, [EMERGENCY], CHANGE, Open, "Closes an incident that owes nothing.";
    EMERGENCY_DECLARE = "emergency.declare", Case, [EMERGENCY], ACCESS, Open,
        "Lets some people do some operations with some keys for a time, by the consent of several.";
    EMERGENCY_END = "emergency.end", Case, [EMERGENCY, SCHEDULED], ACCESS, Open, "Ends an emergency before its time.";
    EMERGENCY_LOOK_AFTER = "emergency.look-after", Case, [SCHEDULED], ACCESS, Open,
        "Writes down what was renewed after an emergency, and reminds of its review.";
    EMERGENCY_LIST = "emergency.list", Case, [EMERGENCY, REVIEW, AUDIT], READ, Open, "Lists emergencies.";
    EMERGENCY_DESCRIBE = "emergency.describe", Case, [EMERGENCY, REVIEW, AUDIT], READ, Open, "Shows an emergency.";
    EMERGENCY_REVIEW = "emergency.review", Case, [EMERGENCY, REVIEW], ACCESS, Open,
        "Signs the review of an emergency, which closes it.";
}
