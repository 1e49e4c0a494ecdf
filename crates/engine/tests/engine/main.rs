//! The engine on its real drivers: SQLite, journal and epoch vault in a directory of their own, a clock turned by hand.
//! One program, so that everything is linked once.
#![allow(clippy::unwrap_used)]

mod access;
mod altering;
mod anchors;
mod approvals;
mod backups;
mod canary;
mod cases;
mod conditions;
mod coverage;
mod credentials;
mod destruction;
mod devices;
mod drills;
mod durability;
mod emergencies;
mod enrolment;
mod escrow;
mod explaining;
mod fresh;
mod grants;
mod integrity;
mod lifecycle;
mod logins;
mod mfa;
mod named_roots;
mod notices;
mod oneself;
mod policies;
mod reports;
mod reviews;
mod roles;
mod sealing;
mod searching;
mod shadow;
mod shares;
mod signing;
mod support;
mod survivors;
mod tamper;
mod transport;
