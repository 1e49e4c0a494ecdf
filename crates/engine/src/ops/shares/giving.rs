//! What becomes of the shares of a root that was just made: they are encrypted to their holders, or shown.

use keyreeve_model::filed::file;
use keyreeve_model::holders::{Kept, Planned, SharesRecord};
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, UnixMillis};
use keyreeve_secret::SecretString;

use super::{HandedText, HolderSpec, encrypt, first_record, handed, set_of, unnamed};
use crate::core::Core;
use crate::error::Error;
use crate::sealing::SystemKeys;

/// Who gets the shares, checked before there are any.
pub(crate) fn planned(
    holders: &[HolderSpec],
    (shares, threshold): (u8, u8),
    now: UnixMillis,
) -> Result<Vec<Planned>, Error> {
    let planned: Vec<Planned> = holders.iter().map(|holder| holder.planned(now)).collect::<Result<_, _>>()?;
    if planned.is_empty() {
        return Ok(planned);
    }
    SharesRecord::check_planned(&planned, threshold)?;
    if planned.len() != usize::from(shares) {
        return Err(Error::invalid("there are as many shares as holders, where holders are named"));
    }
    Ok(planned)
}

/// Shares that were made, and their record.
#[derive(Default)]
pub(crate) struct Given {
    /// In plain text, where nobody was named.
    pub(crate) shown: Vec<SecretString>,
    /// Each encrypted to its holder.
    pub(crate) handed: Vec<HandedText>,
    /// What these holders answer to show that they have theirs.
    pub(crate) challenge: Option<String>,
    record: Option<SharesRecord>,
}

impl Given {
    /// Gives the shares of a root to the people who were planned.
    pub(crate) fn new(
        core: &Core,
        root: &Name,
        made: Vec<SecretString>,
        planned: &[Planned],
        now: UnixMillis,
    ) -> Result<Self, Error> {
        match (made.is_empty(), planned) {
            (true, []) => return Ok(Self::default()),
            (true, _) => return Err(Error::invalid("this root of trust has no shares that holders could get")),
            (false, _) => {}
        }
        let set = set_of(&made)?;
        let (shown, handed, record) = if planned.is_empty() {
            (made, Vec::new(), first_record(root, unnamed(&set, now)))
        } else {
            let encrypted = encrypt(core, &set, &made, planned, now)?;
            let handed = handed(planned, &encrypted.texts);
            let kept = Some(Kept { since: now, texts: encrypted.texts });
            (Vec::new(), handed, SharesRecord { kept, ..first_record(root, encrypted.holders) })
        };
        let challenge = record.current.challenge().map(|challenge| challenge.to_string());
        Ok(Self { shown, handed, challenge, record: Some(record) })
    }

    /// What files the record.
    pub(crate) fn filed(&self, keys: &SystemKeys) -> Option<Change> {
        self.record.as_ref().map(|record| file(keys, Revision::FIRST, record))
    }
}
