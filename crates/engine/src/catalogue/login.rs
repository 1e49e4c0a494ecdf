//! Logging in: methods, sessions, service credentials.

use super::{ACCESS, READ};

super::rows! {
    LOGIN_METHODS = "login.methods", System, [LOGIN], READ, Open, "Shows how one can log in.";
    LOGIN_OIDC_START = "login.oidc-start", Login, [LOGIN], ACCESS, Open, "Begins to log in at an OpenID provider.";
    LOGIN_OIDC_FINISH = "login.oidc-finish", Login, [LOGIN], ACCESS, Open,
        "Exchanges what an OpenID provider sent back for a token.";
    LOGIN_JWT = "login.jwt", Login, [LOGIN], ACCESS, Open, "Exchanges a workload's signed token for a token.";
    LOGIN_LDAP = "login.ldap", Login, [LOGIN], ACCESS, Open, "Exchanges a name and a password for a token.";
    LOGIN_CERTIFICATE = "login.certificate", Login, [LOGIN], ACCESS, Open,
        "Exchanges a client certificate for a token.";
    LOGIN_CREDENTIAL = "login.credential", Login, [LOGIN], ACCESS, Open, "Exchanges a service credential for a token.";
    CREDENTIAL_UNWRAP = "credential.unwrap", System, [LOGIN], ACCESS, Open,
        "Opens a wrapped service credential, once.";
    LOGIN_METHOD_PUT = "login-method.put", Login, [ACCESS], ACCESS, Open, "Makes or replaces a login method.";
    LOGIN_METHOD_SET_SECRET = "login-method.set-secret", Login, [ACCESS], ACCESS, Open,
        "Sets the secret that a login method shows to a provider or directory.";
    LOGIN_METHOD_LIST = "login-method.list", System, [ACCESS], READ, Open, "Lists login methods.";
    LOGIN_METHOD_DESCRIBE = "login-method.describe", Login, [ACCESS], READ, Open, "Shows a login method.";
    LOGIN_METHOD_DELETE = "login-method.delete", Login, [ACCESS], ACCESS, Open,
        "Removes a login method; the tokens that came from it end with it.";
    CREDENTIAL_ISSUE = "credential.issue", Principal, [ACCESS], ACCESS, Open,
        "Issues a secret by which a program logs in.";
    CREDENTIAL_LIST = "credential.list", Principal, [ACCESS], READ, Open, "Lists a principal's service credentials.";
    CREDENTIAL_REVOKE = "credential.revoke", Principal, [ACCESS], ACCESS, Open, "Revokes a service credential at once.";
    TOKEN_RENEW = "token.renew", System, [SELF], ACCESS, Open, "Lets the caller's session last longer.";
    TOKEN_REVOKE_SELF = "token.revoke-self", System, [SELF], ACCESS, Open, "Ends the caller's own token.";
}
