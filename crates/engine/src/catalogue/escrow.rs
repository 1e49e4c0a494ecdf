//! Escrow.

use super::{CHANGE, READ, SYSTEM};

super::rows! {
    ESCROW_DESCRIBE = "escrow.describe", System, [ESCROW, AUDIT], READ, Open,
        "Shows which keys are escrowed, under which key, who holds its shares and how they were last verified.";
    ESCROW_SET_POLICY = "escrow.set-policy", System, [ESCROW], SYSTEM, Open, "Says which keys are escrowed.";
    ESCROW_MAKE_KEY = "escrow.make-key", System, [ESCROW], SYSTEM, Open,
        "Makes a key that others are deposited under, and hands its shares to escrow agents.";
    ESCROW_ACCEPT_KEY = "escrow.accept-key", System, [ESCROW], SYSTEM, Open,
        "Begins to deposit keys under a key whose agents have shown their shares.";
    ESCROW_VERIFY_SHARE = "escrow.verify-share", System, [SELF], SYSTEM, Open,
        "Takes a proof that an escrow agent has a share.";
    ESCROW_OPEN_CAMPAIGN = "escrow.open-campaign", System, [ESCROW, SCHEDULED], SYSTEM, Open,
        "Asks the escrow agents to show their shares, and for a rehearsal.";
    ESCROW_HAND_IN_REHEARSAL = "escrow.hand-in-rehearsal", System, [ESCROW], SYSTEM, Open,
        "Takes the proof that the agents' shares gave the escrow key in a rehearsal.";
    ESCROW_DEPOSIT = "escrow.deposit", Key, [ESCROW, SCHEDULED], CHANGE, Open,
        "Brings the deposits of a key in line with what is escrowed.";
    ESCROW_DEPOSITS = "escrow.deposits", System, [ESCROW, AUDIT], READ, Open, "Lists deposits.";
    ESCROW_RECOVER = "escrow.recover", Key, [ESCROW], CHANGE, Open,
        "Begins to take a key version out of escrow, with the consent of others.";
    ESCROW_GIVE_SHARE = "escrow.give-share", System, [SELF], CHANGE, Open,
        "Gives an agent's share towards a recovery; the last one needed brings the key back.";
    ESCROW_RECOVERY = "escrow.recovery", System, [ESCROW], READ, Open, "Shows a recovery.";
    ESCROW_ABANDON_RECOVERY = "escrow.abandon-recovery", System, [ESCROW], CHANGE, Open, "Gives a recovery up.";
}
