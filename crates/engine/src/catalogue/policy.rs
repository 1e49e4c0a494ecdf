//! What is allowed: policies.

use super::{ACCESS, READ};

super::rows! {
    POLICY_PUT = "policy.put", Policy, [ACCESS], ACCESS, Open,
        "Makes or replaces a policy; it is validated before it applies.";
    POLICY_LIST = "policy.list", System, [ACCESS, AUDIT], READ, Open, "Lists policies.";
    POLICY_DESCRIBE = "policy.describe", Policy, [ACCESS, AUDIT], READ, Open, "Shows a policy.";
    POLICY_DELETE = "policy.delete", Policy, [ACCESS], ACCESS, Open, "Removes a policy.";
    POLICY_APPLY = "policy.apply", System, [ACCESS], ACCESS, Open,
        "Makes the deployment's policies be those of a directory, in one step; they are validated before they apply.";
    POLICY_ROLLBACK = "policy.rollback", System, [ACCESS], ACCESS, Open,
        "Puts back the policies of a former version; they are validated before they apply.";
    POLICY_HISTORY = "policy.history", System, [ACCESS, AUDIT], READ, Open, "Lists the versions of the policies.";
    POLICY_DIFF = "policy.diff", System, [ACCESS, AUDIT], READ, Open,
        "Compares two versions of the policies, in text and in what roles may do.";
    POLICY_SIMULATE = "policy.simulate", System, [ACCESS, AUDIT], READ, Open,
        "Puts the requests of past days, from the audit log, to a draft of the policies, and tells what would change.";
    POLICY_SHADOW = "policy.shadow", System, [ACCESS], ACCESS, Open,
        "Puts a draft of the policies on trial beside those that apply, or ends its trial.";
    POLICY_SHADOW_REPORT = "policy.shadow-report", System, [ACCESS, AUDIT], READ, Open,
        "Tells what a draft on trial would have decided otherwise.";
    POLICY_EXPLAIN = "policy.explain", System, [ACCESS, AUDIT], READ, Open,
        "Answers whether a principal may do something, and why.";
}
