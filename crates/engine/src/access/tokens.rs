//! Tokens whose rows were checked.

use keyreeve_model::TokenRecord;
use keyreeve_model::access::Session;
use keyreeve_model::change::TokenRow;
use keyreeve_model::record::{BadRecord, RecordSealer, Revision, Table, open};
use keyreeve_policy::Network;
use std::net::IpAddr;
use std::sync::Arc;

/// A token whose row was checked.
pub(crate) struct HeldToken {
    pub(crate) record: TokenRecord,
    pub(crate) revision: Revision,
    pub(crate) secret_sha256: [u8; 32],
    /// The login it came from, shared with the principals it proves.
    pub(crate) session: Option<Arc<Session>>,
    networks: Vec<Network>,
}

impl HeldToken {
    pub(crate) fn open(sealer: &dyn RecordSealer, row: &TokenRow) -> Result<Self, BadRecord> {
        let bad = || BadRecord::Tampered { table: Table::Tokens.name() };
        let record: TokenRecord = open(sealer, Table::Tokens, row.id.as_bytes(), &row.record)?;
        if record.id != row.id || record.principal != row.principal {
            return Err(bad());
        }
        let mut secret_sha256 = [0; 32];
        hex::decode_to_slice(&record.secret_sha256, &mut secret_sha256).map_err(|_| bad())?;
        let networks = record.networks.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(|_| bad())?;
        let session = record.session.clone().map(Arc::new);
        Ok(Self { record, revision: row.record.revision, secret_sha256, session, networks })
    }

    /// Whether the token is good from an address. An unknown address is in no network.
    pub(crate) fn is_good_from(&self, source: Option<IpAddr>) -> bool {
        self.networks.is_empty() || source.is_some_and(|ip| self.networks.iter().any(|network| network.contains(ip)))
    }
}
