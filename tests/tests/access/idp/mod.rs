//! With an OpenID provider that is not ours.

mod jwt;
mod oidc;
