//! Who must agree to what, and agreeing to it.

use super::{ACCESS, READ};

super::rows! {
    APPROVAL_LIST = "approval.list", System, [APPROVE, AUDIT, SELF], READ, Open,
        "Lists requests that wait for consent, or waited; one's own, or all for whoever consents or audits.";
    APPROVAL_DESCRIBE = "approval.describe", Approval, [APPROVE, AUDIT, SELF], READ, Open,
        "Shows a request that waits: everything it asks for, why, whose consent it needs, and the votes.";
    APPROVAL_VOTE = "approval.vote", Approval, [APPROVE, SELF], ACCESS, Open,
        "Consents to what somebody else asked for, or refuses it.";
    APPROVAL_WITHDRAW = "approval.withdraw", Approval, [SELF], ACCESS, Open, "Takes one's own request back.";
    APPROVAL_EXECUTE = "approval.execute", Approval, [SELF], ACCESS, Open,
        "Runs one's own request that others consented to; what it asked for is decided and recorded besides.";
    RULES_DESCRIBE = "rules.describe", System, [APPROVE, GOVERN, AUDIT, ACCESS], READ, Open,
        "Shows the rules of approval, and whether they are in force.";
    RULES_CHECK = "rules.check", System, [GOVERN], READ, Open,
        "Looks whether rules of approval could be put, without putting them.";
    RULES_PUT = "rules.put", System, [GOVERN], ACCESS, Open,
        "Replaces the rules of approval, under the rules that stand.";
    GOVERNANCE_ENACT = "governance.enact", System, [GOVERN], ACCESS, Open,
        "Brings the rules of approval into force, for good.";
}
