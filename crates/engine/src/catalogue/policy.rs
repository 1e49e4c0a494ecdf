//! What is allowed: policies.

use super::{ACCESS, READ};

super::rows! {
    POLICY_PUT = "policy.put", Policy, [ACCESS], ACCESS, Open,
        "Makes or replaces a policy; it is validated before it applies.";
    POLICY_LIST = "policy.list", System, [ACCESS, AUDIT], READ, Open, "Lists policies.";
    POLICY_DESCRIBE = "policy.describe", Policy, [ACCESS, AUDIT], READ, Open, "Shows a policy.";
    POLICY_DELETE = "policy.delete", Policy, [ACCESS], ACCESS, Open, "Removes a policy.";
    POLICY_EXPLAIN = "policy.explain", System, [ACCESS, AUDIT], READ, Open,
        "Answers whether a principal may do something, and why.";
}
