//! Who may come in: principals and tokens.

use super::{ACCESS, READ};

super::rows! {
    TOKEN_CREATE = "token.create", Token, [ACCESS], ACCESS, Open, "Issues a bearer token for a principal.";
    TOKEN_LIST = "token.list", System, [ACCESS], READ, Open, "Lists tokens.";
    TOKEN_REVOKE = "token.revoke", Token, [ACCESS], ACCESS, Open, "Revokes a token at once.";
    TOKEN_SELF = "token.self", System, [SELF], READ, Open, "Shows who the caller is.";
    PRINCIPAL_PUT = "principal.put", Principal, [ACCESS], ACCESS, Open,
        "Makes or alters a principal: roles, certificates, networks.", also "principal.put";
    PRINCIPAL_LIST = "principal.list", System, [ACCESS], READ, Open, "Lists principals.";
    PRINCIPAL_DESCRIBE = "principal.describe", Principal, [ACCESS], READ, Open, "Shows a principal.";
    PRINCIPAL_DELETE = "principal.delete", Principal, [ACCESS], ACCESS, Open,
        "Removes a principal; its tokens end with it.";
}
