//! Who shall hold shares, from the command line or a file, and the keys their shares are encrypted to.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_crypto::recipients::{MAX_RECIPIENT, Recipient, RecipientKind};
use keyreeve_wire::shares::NewHolder;
use serde::Deserialize;

use crate::failure::Failure;
use crate::files;
use crate::out::printable;

/// The longest file of holders, in bytes.
const HOLDERS_MAX: usize = 256 * 1024;

/// Who gets the shares.
#[derive(Args, Default)]
pub(crate) struct HolderArgs {
    /// A holder whose share is encrypted: NAME=age1... (an age recipient), NAME=@FILE (an OpenPGP certificate; its
    /// fingerprint is shown and asked about), or NAME=@FILE#FINGERPRINT. Once for each share
    #[arg(long = "holder", value_name = "NAME=KEY")]
    pub(crate) holders: Vec<String>,
    /// The same from a TOML file: `[[holder]]` tables with `name`, `age` or `openpgp` (a file beside it), and
    /// optionally `fingerprint`, `organisation`, `contact`
    #[arg(long, value_name = "FILE", conflicts_with = "holders")]
    pub(crate) holders_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldersFile {
    holder: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    organisation: String,
    #[serde(default)]
    contact: String,
    age: Option<String>,
    openpgp: Option<PathBuf>,
    fingerprint: Option<String>,
}

impl HolderArgs {
    /// The holders, with keys that were read and compared. None where none were named.
    pub(crate) fn read(&self) -> Result<Vec<NewHolder>, Failure> {
        let entries = match &self.holders_file {
            Some(path) => in_file(path)?,
            None => self.holders.iter().map(|text| on_line(text)).collect::<Result<_, _>>()?,
        };
        entries.into_iter().map(|entry| entry.read(&mut ask_person)).collect()
    }
}

fn in_file(path: &Path) -> Result<Vec<Entry>, Failure> {
    let bytes = files::read_all(path, HOLDERS_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
    let file: HoldersFile =
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut entries = file.holder;
    for entry in &mut entries {
        entry.openpgp = entry.openpgp.take().map(|certificate| beside.join(certificate));
    }
    Ok(entries)
}

fn on_line(text: &str) -> Result<Entry, Failure> {
    let form = "a holder is NAME=age1..., NAME=@FILE or NAME=@FILE#FINGERPRINT";
    let (name, key) = text.split_once('=').ok_or_else(|| Failure::usage(form))?;
    let (organisation, contact) = Default::default();
    let (age, openpgp, fingerprint) = match key.strip_prefix('@') {
        None => (Some(key.to_owned()), None, None),
        Some(file) => match file.rsplit_once('#') {
            Some((file, fingerprint)) => (None, Some(file.into()), Some(fingerprint.to_owned())),
            None => (None, Some(file.into()), None),
        },
    };
    Ok(Entry { name: name.to_owned(), organisation, contact, age, openpgp, fingerprint })
}

impl Entry {
    fn read(self, ask: &mut dyn FnMut(&str, &Recipient) -> Result<bool, Failure>) -> Result<NewHolder, Failure> {
        let bytes = match (&self.age, &self.openpgp) {
            (Some(recipient), None) => recipient.trim().as_bytes().to_vec(),
            (None, Some(file)) => files::read_all(file, MAX_RECIPIENT)?,
            _ => return Err(Failure::usage(format!("`{}` needs one key: `age` or `openpgp`", self.name))),
        };
        let refused = |what: String| Failure::usage(format!("the key of `{}`: {what}", self.name));
        // Whether it has expired is the server's to say, by its clock.
        let recipient = Recipient::parse(&bytes, 0).map_err(|error| refused(error.to_string()))?;
        match &self.fingerprint {
            Some(wanted) if !recipient.has_fingerprint(wanted) => {
                return Err(refused(format!("its fingerprint is {}, not {wanted}", recipient.fingerprint())));
            }
            // An age recipient is its own fingerprint, and stands in the command.
            None if recipient.kind() == RecipientKind::OpenPgp && !ask(&self.name, &recipient)? => {
                return Err(refused("its fingerprint was not confirmed".to_owned()));
            }
            _ => {}
        }
        let key = match recipient.kind() {
            RecipientKind::Age => recipient.fingerprint(),
            RecipientKind::OpenPgp => armored(&bytes),
        };
        let Self { name, organisation, contact, .. } = self;
        Ok(NewHolder { name, organisation, contact, key, fingerprint: recipient.fingerprint() })
    }
}

/// A certificate as text: armored already, or binary.
fn armored(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.trim_start().starts_with("-----BEGIN") => text.trim().to_owned(),
        _ => {
            let digits = data_encoding::BASE64.encode(bytes);
            let lines: Vec<&str> =
                digits.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
            let (label, body) = ("PGP PUBLIC KEY BLOCK", lines.join("\n"));
            format!("-----BEGIN {label}-----\n\n{body}\n-----END {label}-----\n")
        }
    }
}

/// In groups of four, as `gpg --fingerprint` shows it.
pub(crate) fn grouped(fingerprint: &str) -> String {
    if fingerprint.starts_with("age1") {
        return fingerprint.to_owned();
    }
    let groups: Vec<String> =
        fingerprint.as_bytes().chunks(4).map(|g| String::from_utf8_lossy(g).into_owned()).collect();
    groups.join(" ")
}

fn ask_person(name: &str, recipient: &Recipient) -> Result<bool, Failure> {
    let (fingerprint, user) = (recipient.fingerprint(), printable(recipient.user().unwrap_or("(no name)")));
    if !std::io::stdin().is_terminal() {
        let next = format!("compare it with the holder, then write {}=@FILE#{fingerprint}", printable(name));
        return Err(Failure::usage(format!("nobody confirmed the fingerprint of `{}`", printable(name))).next(next));
    }
    let mut err = std::io::stderr().lock();
    writeln!(err, "{}: {user}\n  {}", printable(name), grouped(&fingerprint))?;
    write!(err, "Does the holder read out the same fingerprint? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a";
    const BOB: &str = "AF69764D1DE75490029F4F2A64F1FB0573D6427C";

    fn certificate() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bob.asc");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/seeds/recipient/bob.asc");
        std::fs::copy(source, &path).unwrap();
        (dir, path)
    }

    #[test]
    fn holders_are_read_from_the_line() {
        let (_dir, bob) = certificate();
        let args = |holders: &[String]| HolderArgs { holders: holders.to_vec(), holders_file: None }.read();
        let read = args(&[format!("alice={ALICE}"), format!("bob=@{}#{BOB}", bob.display())]).unwrap();
        assert_eq!((read[0].name.as_str(), read[0].fingerprint.as_str()), ("alice", ALICE));
        assert_eq!(read[1].fingerprint, BOB);
        assert!(read[1].key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        for wrong in ["alice", "alice=age1xyz", "alice=@/nowhere"] {
            assert!(args(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        let other = format!("bob=@{}#{}", bob.display(), BOB.replace('A', "B"));
        assert!(args(&[other]).unwrap_err().what.contains("its fingerprint is AF69"));
    }

    #[test]
    fn a_fingerprint_that_nobody_wrote_down_is_asked_about() {
        let (_dir, bob) = certificate();
        let entry = || on_line(&format!("bob=@{}", bob.display())).unwrap();
        let mut asked = Vec::new();
        let mut no = |name: &str, recipient: &Recipient| {
            asked.push((name.to_owned(), recipient.user().unwrap().to_owned()));
            Ok(false)
        };
        assert!(entry().read(&mut no).unwrap_err().what.contains("not confirmed"));
        assert_eq!(asked, [("bob".to_owned(), "Bob Curve <bob@example.test>".to_owned())]);
        assert_eq!(entry().read(&mut |_, _| Ok(true)).unwrap().fingerprint, BOB);
        assert_eq!(grouped(BOB), "AF69 764D 1DE7 5490 029F 4F2A 64F1 FB05 73D6 427C");
    }

    #[test]
    fn holders_are_read_from_a_file() {
        let (dir, _bob) = certificate();
        let path = dir.path().join("holders.toml");
        let text = format!(
            "[[holder]]\nname = 'alice'\ncontact = '+43 1'\nage = '{ALICE}'\n\
             [[holder]]\nname = 'bob'\norganisation = 'Example'\nopenpgp = 'bob.asc'\nfingerprint = '{BOB}'\n"
        );
        std::fs::write(&path, &text).unwrap();
        let read = || HolderArgs { holders: Vec::new(), holders_file: Some(path.clone()) }.read();
        let holders = read().unwrap();
        assert_eq!((holders[0].contact.as_str(), holders[1].organisation.as_str()), ("+43 1", "Example"));
        std::fs::write(&path, text.replace("contact", "phone")).unwrap();
        assert!(read().is_err(), "a field nobody knows");
    }

    #[test]
    fn binary_certificates_get_armor() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/seeds/recipient/bob.gpg");
        let bytes = std::fs::read(source).unwrap();
        let read = Recipient::parse(armored(&bytes).as_bytes(), 0).unwrap();
        assert_eq!(read.fingerprint(), BOB);
    }
}
