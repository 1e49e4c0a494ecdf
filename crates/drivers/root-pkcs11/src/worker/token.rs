//! The library, the token in it, and being logged in to it.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{MechanismInfo, MechanismType};
use cryptoki::session::{Session, UserType, ValidationFlagsType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use keyreeve_secret::SecretBytes;
use parking_lot::Mutex;

use super::operations::tried_oaep;
use super::trouble::Trouble;
use super::{Output, answer};
use crate::survey::{Mechanism, Survey, flags, uses};
use crate::wire::{Failure, Opening, Reply};

/// One token, as long as the worker lives.
pub(super) struct Token {
    library: Pkcs11,
    slot: Slot,
    pin: Option<SecretBytes>,
    /// Set once the PIN was refused. Under the lock, so that no two threads try it at once: three wrong tries lock many
    /// tokens for good.
    refused: Mutex<bool>,
    output: Output,
}

impl Token {
    /// Loads the library, finds the token, logs in if there is a PIN, and looks at what it does.
    pub(super) fn open(opening: Opening, output: Output) -> Result<(Self, Survey), Trouble> {
        let library = Pkcs11::new(&opening.library)?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let slot = find(&library, &opening)?;
        let mut survey = survey(&library, slot)?;
        let token = Self { library, slot, pin: opening.pin, refused: Mutex::new(false), output };
        if token.pin.is_some()
            && let Some(why) = survey.login_forbidden()
        {
            return Err(Trouble::new(Failure::Pin, why));
        }
        let session = token.session()?;
        survey.oaep = tried_oaep(&session);
        survey.validation = session.get_validation_flags(ValidationFlagsType::VALIDATION_OK).ok();
        Ok((token, survey))
    }

    /// A new session, logged in if there is a PIN.
    pub(super) fn session(&self) -> Result<Session, Trouble> {
        let session = if self.pin.is_some() {
            self.library.open_rw_session(self.slot)?
        } else {
            self.library.open_ro_session(self.slot)?
        };
        self.login(&session)?;
        Ok(session)
    }

    /// Being logged in is the same for all sessions of a process, so it is no error to be it already.
    fn login(&self, session: &Session) -> Result<(), Trouble> {
        let Some(pin) = &self.pin else { return Ok(()) };
        let mut refused = self.refused.lock();
        if *refused {
            return Err(Trouble::new(Failure::Pin, "the PIN was refused before and is not tried again"));
        }
        let pin = RawAuthPin::new(Box::new(pin.expose().to_vec()));
        self.say(Reply::Login(true))?;
        let outcome = judged(session.login_with_raw(UserType::User, &pin));
        *refused = matches!(outcome, Err(Trouble::Final(Failure::Pin, _)));
        if !*refused {
            // A refusal is told by the reply. Should the worker end before it comes to that, it counts all the same.
            self.say(Reply::Login(false))?;
        }
        outcome
    }

    /// Tells the server, which must know before the token is shown the PIN.
    fn say(&self, notice: Reply) -> Result<(), Trouble> {
        answer(&self.output, 0, &notice).map_err(|error| Trouble::new(Failure::Unavailable, error.to_string()))
    }

    pub(super) fn close(self) {
        // The process ends anyway.
        let _ = self.library.finalize();
    }
}

/// What the answer to a login means. Libraries say `CKR_GENERAL_ERROR` or a code of their own of a wrong PIN as well,
/// so every error may have used up a try, and none is worth another one; unless the token is not there, and saw no
/// PIN.
fn judged(answer: Result<(), Error>) -> Result<(), Trouble> {
    match answer {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error @ Error::Pkcs11(RvError::DeviceRemoved | RvError::TokenNotPresent, _)) => Err(error.into()),
        Err(error) => Err(Trouble::new(Failure::Pin, error.to_string())),
    }
}

fn find(library: &Pkcs11, opening: &Opening) -> Result<Slot, Trouble> {
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for slot in library.get_slots_with_token()? {
        let Ok(token) = library.get_token_info(slot) else { continue };
        if token.token_initialized() {
            seen.push(format!("`{}` (serial number {})", token.label(), token.serial_number()));
        }
        let named = (opening.label.is_empty() || token.label() == opening.label)
            && (opening.serial.is_empty() || token.serial_number() == opening.serial);
        if named && token.token_initialized() {
            found.push(slot);
        }
    }
    match found.as_slice() {
        [slot] => Ok(*slot),
        [] => {
            let there = match seen.as_slice() {
                [] => "there is none at all (SoftHSM looks for its tokens where SOFTHSM2_CONF says)".to_owned(),
                seen => format!("there are: {}", seen.join(", ")),
            };
            let text = format!("no token of this label and serial number is in any slot; {there}");
            Err(Trouble::new(Failure::Unavailable, text))
        }
        _ => Err(Trouble::new(Failure::Unavailable, "several tokens have this label: name the serial number as well")),
    }
}

fn survey(library: &Pkcs11, slot: Slot) -> Result<Survey, Trouble> {
    let (info, token) = (library.get_library_info()?, library.get_token_info(slot)?);
    let mut mechanisms = Vec::new();
    for code in library.get_mechanism_list(slot)? {
        if let Ok(info) = library.get_mechanism_info(slot, code) {
            mechanisms.push(mechanism(code, info));
        }
    }
    Ok(Survey {
        library: format!("{}, {}", info.manufacturer_id().trim(), info.library_description().trim()),
        library_version: info.library_version().to_string(),
        cryptoki: info.cryptoki_version().to_string(),
        manufacturer: token.manufacturer_id().to_owned(),
        model: token.model().to_owned(),
        label: token.label().to_owned(),
        serial: token.serial_number().to_owned(),
        hardware: token.hardware_version().to_string(),
        firmware: token.firmware_version().to_string(),
        slot: slot.id(),
        flags: token_flags(&token),
        mechanisms,
        oaep: 0,
        validation: None,
    })
}

fn mechanism(code: MechanismType, info: MechanismInfo) -> Mechanism {
    let said = [
        (info.encrypt(), uses::ENCRYPT),
        (info.decrypt(), uses::DECRYPT),
        (info.sign(), uses::SIGN),
        (info.generate(), uses::GENERATE),
        (info.generate_key_pair(), uses::GENERATE_PAIR),
        (info.hardware(), uses::HARDWARE),
    ];
    Mechanism {
        code: *code,
        min: info.min_key_size() as u64,
        max: info.max_key_size() as u64,
        uses: said.iter().filter(|(said, _)| *said).map(|(_, bit)| bit).sum(),
    }
}

fn token_flags(token: &TokenInfo) -> u8 {
    let said = [
        (token.login_required(), flags::LOGIN_REQUIRED),
        (token.user_pin_initialized(), flags::PIN_SET),
        (token.user_pin_count_low(), flags::PIN_COUNT_LOW),
        (token.user_pin_final_try(), flags::PIN_FINAL_TRY),
        (token.user_pin_locked(), flags::PIN_LOCKED),
        (token.write_protected(), flags::WRITE_PROTECTED),
        (token.error_state(), flags::ERROR_STATE),
    ];
    said.iter().filter(|(said, _)| *said).map(|(_, bit)| bit).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn only_a_token_that_is_gone_is_logged_in_to_again() {
        let judged = |code| judged(Err(Error::Pkcs11(code, Function::Login)));
        assert!(judged(RvError::UserAlreadyLoggedIn).is_ok());
        for code in [
            RvError::PinIncorrect,
            RvError::GeneralError,
            RvError::FunctionFailed,
            RvError::DeviceError,
            RvError::SessionHandleInvalid,
            RvError::VendorDefined(1),
            RvError::UnknownErrorCode(7),
        ] {
            assert!(matches!(judged(code), Err(Trouble::Final(Failure::Pin, _))), "{code:?}");
        }
        for code in [RvError::DeviceRemoved, RvError::TokenNotPresent] {
            assert!(matches!(judged(code), Err(Trouble::Final(Failure::Unavailable, _))));
        }
    }
}
