//! A hardware security module that is a library, SoftHSM, over a token in a directory of its own, and `pkcs11-tool` of
//! OpenSC: somebody who has its PIN.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A token, initialised and empty.
#[derive(Debug)]
pub struct Softhsm {
    home: TempDir,
}

impl Softhsm {
    /// The library.
    pub const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
    /// The token's label.
    pub const LABEL: &str = "keyreeve test";
    /// The PIN of its user.
    pub const PIN: &str = "1234-test";

    /// Makes one; none, said aloud, where the programs are missing.
    ///
    /// # Panics
    /// When they are missing and everything must run, or the token cannot be made.
    #[must_use]
    pub fn start() -> Option<Self> {
        let is_there = |program: &str| Command::new(program).arg("--help").output().is_ok();
        if !PathBuf::from(Self::LIBRARY).exists() || !is_there("softhsm2-util") || !is_there("pkcs11-tool") {
            crate::not_run("softhsm2 or opensc is missing: `cargo xtask test` installs them");
            return None;
        }
        let token = Self { home: tempfile::tempdir().unwrap() };
        std::fs::create_dir(token.path("tokens")).unwrap();
        let tokens = token.path("tokens").display().to_string();
        let config = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
        std::fs::write(token.configuration(), config).unwrap();
        let arguments = ["--init-token", "--free", "--label", Self::LABEL, "--so-pin", "87654321", "--pin", Self::PIN];
        let made = token.run("softhsm2-util", &arguments);
        assert!(made.status.success(), "{made:?}");
        token.write_pin("pin", Self::PIN);
        Some(token)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What `SOFTHSM2_CONF` has to say.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.path("softhsm2.conf")
    }

    /// The file with the right PIN.
    #[must_use]
    pub fn pin_file(&self) -> PathBuf {
        self.path("pin")
    }

    /// The lines of a root of trust in it, for a section of the configuration.
    #[must_use]
    pub fn root(&self) -> String {
        format!(
            "kind = \"pkcs11\"\nlibrary = \"{}\"\ntoken = \"{}\"\npin_file = \"{}\"\n\
             environment = {{ SOFTHSM2_CONF = \"{}\" }}\n",
            Self::LIBRARY,
            Self::LABEL,
            self.pin_file().display(),
            self.configuration().display()
        )
    }

    /// Writes a file with a PIN, for its owner alone.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_pin(&self, name: &str, pin: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, pin).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Takes the token out of the machine.
    ///
    /// # Panics
    /// When it is out already.
    pub fn take_out(&self) {
        std::fs::rename(self.path("tokens"), self.path("elsewhere")).unwrap();
        std::fs::create_dir(self.path("tokens")).unwrap();
    }

    /// Puts it back.
    ///
    /// # Panics
    /// When it is in.
    pub fn put_back(&self) {
        std::fs::remove_dir(self.path("tokens")).unwrap();
        std::fs::rename(self.path("elsewhere"), self.path("tokens")).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        crate::tidy_environment(&mut command, self.home.path());
        command.args(arguments).env("SOFTHSM2_CONF", self.configuration());
        command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Runs `pkcs11-tool`, logged in.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn tool(&self, arguments: &[&str]) -> Output {
        let begin = ["--module", Self::LIBRARY, "--token-label", Self::LABEL, "--login", "--pin", Self::PIN];
        self.run("pkcs11-tool", &[&begin, arguments].concat())
    }

    /// Tries to read each secret and private key; how many there are, and how many could be read.
    ///
    /// # Panics
    /// When they cannot be listed.
    #[must_use]
    pub fn try_to_export(&self) -> (usize, usize) {
        let listed = String::from_utf8(self.tool(&["--list-objects"]).stdout).unwrap();
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

    /// Erases a secret key and makes another one of the same id and label, which may leave the token.
    ///
    /// # Panics
    /// When the token refuses.
    pub fn replace_by_an_exportable_key(&self, id: &str, label: &str) {
        let erased = self.tool(&["--delete-object", "--type", "secrkey", "--id", id]);
        assert!(erased.status.success(), "{erased:?}");
        let made = self.tool(&["--keygen", "--key-type", "AES:32", "--id", id, "--label", label, "--extractable"]);
        assert!(made.status.success(), "{made:?}");
    }
}
