//! Runbooks: what to do in trouble, with what this installation really has.
//!
//! The texts are those of `docs/runbooks/`, with places that are filled in: [`book`] reads them, [`facts`] knows what
//! belongs there, [`paper`] prints them.

pub(crate) mod book;
pub(crate) mod facts;
pub(crate) mod paper;

/// A runbook that comes with the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shipped {
    /// Its name, which is that of the drill that rehearses it, where there is one.
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../../../../docs/runbooks/", $name, ".md")),
        }),*]
    };
}

/// All of them, what is most pressing first.
pub(crate) const RUNBOOKS: &[Shipped] = shipped![
    "restore",
    "region-loss",
    "root-loss",
    "share-holder",
    "hsm-loss",
    "key-loss",
    "key-compromise",
    "roll-back",
    "integrity",
    "access-trouble",
];
