//! Web Authentication, W3C WebAuthn level 3.
