//! A token of SoftHSM in a directory of its own, and what somebody with its PIN can do with the tools of others.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use keyreeve_root_pkcs11::{Launch, PinSource, Settings};
use tempfile::TempDir;

pub(crate) const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const LABEL: &str = "keyreeve test";
pub(crate) const PIN: &str = "1234-test";

/// One token.
pub(crate) struct Softhsm {
    folder: TempDir,
}

impl Softhsm {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let token = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(token.path("tokens")).unwrap();
        let tokens = token.path("tokens").display().to_string();
        let config = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
        std::fs::write(token.path("softhsm2.conf"), config).unwrap();
        let made = token
            .run("softhsm2-util", &["--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin", PIN]);
        assert!(made.status.success(), "{made:?}");
        token.pin_file("pin", PIN);
        token
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a PIN where a setting can name it.
    pub(crate) fn pin_file(&self, name: &str, pin: &str) -> PinSource {
        let path = self.path(name);
        std::fs::write(&path, pin).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        PinSource::File(path)
    }

    fn environment(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("SOFTHSM2_CONF".to_owned(), self.path("softhsm2.conf").display().to_string())])
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            launch: Launch {
                program: env!("CARGO_BIN_EXE_keyreeve-pkcs11-worker").into(),
                arguments: Vec::new(),
                environment: self.environment(),
            },
            library: LIBRARY.into(),
            token: LABEL.to_owned(),
            serial: String::new(),
            key_label: "keyreeve-root".to_owned(),
            pin: PinSource::File(self.path("pin")),
            // Tests run side by side on machines with few processors.
            timeout: Duration::from_secs(10),
            making: Duration::from_secs(60),
            sessions: 4,
        }
    }

    /// Takes the token out of the machine.
    pub(crate) fn take_out(&self) {
        std::fs::rename(self.path("tokens"), self.path("elsewhere")).unwrap();
        std::fs::create_dir(self.path("tokens")).unwrap();
    }

    /// Puts it back.
    pub(crate) fn put_back(&self) {
        std::fs::remove_dir(self.path("tokens")).unwrap();
        std::fs::rename(self.path("elsewhere"), self.path("tokens")).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment()).env_remove("LANG");
        command.output().unwrap_or_else(|error| panic!("{program}: {error}; install softhsm2 and opensc"))
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        let begin = ["--module", LIBRARY, "--token-label", LABEL, "--login", "--pin", PIN];
        self.run("pkcs11-tool", &[&begin, arguments].concat())
    }

    /// Tries to read each secret and private key; how many there are, and how many could be read.
    pub(crate) fn try_to_export(&self) -> (usize, usize) {
        let listed = self.tool(&["--list-objects"]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        let (mut kind, mut looked_at, mut taken) = (None, 0, 0);
        for line in listed.lines() {
            match line {
                line if line.starts_with("Secret Key Object") => kind = Some("secrkey"),
                line if line.starts_with("Private Key Object") => kind = Some("privkey"),
                line if line.starts_with("Public Key Object") => kind = None,
                _ => {}
            }
            if let (Some(kind), Some(id)) = (kind, line.trim().strip_prefix("ID:")) {
                let read = self.tool(&["--read-object", "--type", kind, "--id", id.trim()]);
                looked_at += 1;
                taken += usize::from(read.status.success() && !read.stdout.is_empty());
            }
        }
        (looked_at, taken)
    }

    /// Erases the root key and makes another one of the same name and id, which may leave the token.
    pub(crate) fn replace_root_by_an_exportable_key(&self, id: &str) {
        let id = format!("4b525631{id}");
        let erased = self.tool(&["--delete-object", "--type", "secrkey", "--id", &id]);
        assert!(erased.status.success(), "{erased:?}");
        let made = ["--keygen", "--key-type", "AES:32", "--id", &id, "--label", "keyreeve-root", "--extractable"];
        let made = self.tool(&made);
        assert!(made.status.success(), "{made:?}");
    }
}
