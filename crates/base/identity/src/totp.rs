//! Time-based one-time codes, RFC 6238.
