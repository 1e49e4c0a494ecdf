//! A token, and how this driver reaches it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use keyreeve_root_pkcs11::{Launch, PinSource, Settings};
use keyreeve_tests::Softhsm;

/// One token.
pub(crate) struct Token(Softhsm);

impl Deref for Token {
    type Target = Softhsm;

    fn deref(&self) -> &Softhsm {
        &self.0
    }
}

impl Token {
    /// An empty one; none where SoftHSM is missing.
    pub(crate) fn start() -> Option<Self> {
        Softhsm::start().map(Self)
    }

    pub(crate) fn settings(&self) -> Settings {
        let configuration = self.configuration().display().to_string();
        Settings {
            launch: Launch {
                program: env!("CARGO_BIN_EXE_keyreeve-pkcs11-worker").into(),
                arguments: Vec::new(),
                environment: BTreeMap::from([("SOFTHSM2_CONF".to_owned(), configuration)]),
            },
            library: Softhsm::LIBRARY.into(),
            token: Softhsm::LABEL.to_owned(),
            serial: String::new(),
            key_label: "keyreeve-root".to_owned(),
            pin: PinSource::File(self.pin_file()),
            // Tests run side by side on machines with few processors.
            timeout: Duration::from_secs(10),
            making: Duration::from_secs(60),
            sessions: 4,
        }
    }
}
