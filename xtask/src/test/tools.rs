//! What the tests need besides a Rust toolchain and a C compiler: found, or installed where that is allowed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::postgres;
use super::tally::Tally;
use crate::{cargo, workspace};

/// A component of the machine that some step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Rustfmt,
    Clippy,
    Cxx,
    Postgres,
    Openssl,
    Curl,
    Python,
    Schemathesis,
    Aiosmtpd,
    Fido2,
    Chromium,
    Oathtool,
    Age,
    Gnupg,
    Mounts,
    Faketime,
    Node,
    OidcProvider,
    Slapd,
    Softhsm,
    Swtpm,
    GoogleKms,
    Moto,
    AzureLibraries,
    Vault,
    Cmake,
    Go,
}

/// What the tests need besides cargo.
pub(super) const OF_TESTS: &[Tool] = &[
    Tool::Postgres,
    Tool::Openssl,
    Tool::Curl,
    Tool::Python,
    Tool::Schemathesis,
    Tool::Aiosmtpd,
    Tool::Fido2,
    Tool::Chromium,
    Tool::Oathtool,
    Tool::Age,
    Tool::Gnupg,
    Tool::Mounts,
    Tool::Faketime,
    Tool::Node,
    Tool::OidcProvider,
    Tool::Slapd,
    Tool::Softhsm,
    Tool::Swtpm,
    Tool::GoogleKms,
    Tool::Moto,
    Tool::AzureLibraries,
    Tool::Go,
    Tool::Vault,
];

/// What the crash campaigns need.
pub(super) const OF_CRASHES: &[Tool] = &[Tool::Postgres, Tool::Softhsm, Tool::Age];

/// What the FIPS build of the cryptographic module needs besides, and the tests that are run on it.
pub(super) const OF_FIPS: &[Tool] =
    &[Tool::Cmake, Tool::Go, Tool::Postgres, Tool::Openssl, Tool::Curl, Tool::Python, Tool::Mounts, Tool::Faketime];

/// The version whose options the tests use.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// The second verifier of what authenticators answer.
const FIDO2: &str = "fido2==2.2.1";
/// The version whose settings `tests/counterparts/idp.mjs` uses.
const OIDC_PROVIDER: (&str, &str) = ("oidc-provider", "9.13.3");
/// Google's messages of Cloud KMS, on which `tests/counterparts/google_kms.py` stands.
const GOOGLE_KMS: &str = "google-cloud-kms==3.18.0";
/// The simulation of AWS under `tests/counterparts/aws_kms.py`.
const MOTO: &str = "moto[kms,server]==5.2.5";
/// Microsoft's libraries, which say whether `tests/counterparts/azure_keyvault.py` is what they mean.
const AZURE: &str = "azure-keyvault-keys==4.11.3 azure-identity==1.27.0";
/// What `tests/counterparts/vault/main.go` says of itself.
const VAULT: &str = "vault 1.13.1, in part";
const VAULT_SOURCE: &str = "tests/counterparts/vault";
/// The version that the receiver in tests/access/smtp.py was written for.
const AIOSMTPD: &str = "aiosmtpd==1.4.6";

impl Tool {
    pub(super) const ALL: [Self; 27] = [
        Self::Rustfmt,
        Self::Clippy,
        Self::Cxx,
        Self::Postgres,
        Self::Openssl,
        Self::Curl,
        Self::Python,
        Self::Schemathesis,
        Self::Aiosmtpd,
        Self::Fido2,
        Self::Chromium,
        Self::Oathtool,
        Self::Age,
        Self::Gnupg,
        Self::Mounts,
        Self::Faketime,
        Self::Node,
        Self::OidcProvider,
        Self::Slapd,
        Self::Softhsm,
        Self::Swtpm,
        Self::GoogleKms,
        Self::Moto,
        Self::AzureLibraries,
        Self::Vault,
        Self::Cmake,
        Self::Go,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rustfmt => "rustfmt",
            Self::Clippy => "clippy",
            Self::Cxx => "C++ compiler",
            Self::Postgres => "PostgreSQL server",
            Self::Openssl => "OpenSSL",
            Self::Curl => "curl",
            Self::Python => "Python",
            Self::Schemathesis => "schemathesis",
            Self::Chromium => "Chromium, driven",
            Self::Fido2 => "python-fido2",
            Self::Oathtool => "oathtool",
            Self::Age => "age",
            Self::Gnupg => "GnuPG",
            Self::Aiosmtpd => "aiosmtpd",
            Self::Mounts => "mount namespaces",
            Self::Faketime => "faketime",
            Self::Node => "Node",
            Self::OidcProvider => "oidc-provider",
            Self::Slapd => "slapd",
            Self::Softhsm => "SoftHSM",
            Self::Swtpm => "swtpm",
            Self::GoogleKms => "google-cloud-kms",
            Self::Moto => "moto",
            Self::AzureLibraries => "azure-keyvault-keys",
            Self::Vault => "Vault",
            Self::Cmake => "cmake",
            Self::Go => "Go",
        }
    }

    /// What the paths of tests contain that need it.
    pub(super) fn in_tests(self) -> Option<&'static str> {
        match self {
            Self::Rustfmt | Self::Clippy | Self::Cxx | Self::Cmake | Self::Go => None,
            Self::Postgres => Some("postgres"),
            Self::Openssl => Some("openssl::"),
            Self::Curl => Some("curl::"),
            Self::Python => Some("python::"),
            Self::Schemathesis => Some("schemathesis::"),
            Self::Chromium => Some("chromium::"),
            Self::Fido2 => Some("fido2::"),
            Self::Oathtool => Some("oathtool::"),
            Self::Age | Self::Gnupg => Some("age_and_gpg::"),
            Self::Aiosmtpd => Some("aiosmtpd::"),
            Self::Mounts => Some("mounted::"),
            Self::Faketime => Some("faketime::"),
            // Without Node there is no provider.
            Self::Node | Self::OidcProvider => Some("idp::"),
            Self::Slapd => Some("slapd::"),
            Self::Softhsm => Some("softhsm::"),
            Self::Swtpm => Some("swtpm::"),
            Self::GoogleKms => Some("cloudkms::"),
            Self::Moto => Some("moto::"),
            Self::AzureLibraries => Some("microsoft::"),
            Self::Vault => Some("transit::"),
        }
    }

    fn needed_for(self) -> &'static str {
        match self {
            Self::Rustfmt => "the formatting check",
            Self::Clippy => "the lints",
            Self::Cxx => "libFuzzer",
            Self::Postgres => "the PostgreSQL driver's tests",
            Self::Openssl => "signatures and keys across programs",
            Self::Curl => "the interface in another program's hands",
            Self::Python => "verifiers written from the specifications",
            Self::Schemathesis => "what the OpenAPI document promises",
            Self::Chromium => "the console, and authenticators in a browser",
            Self::Fido2 => "a second verifier of authenticators",
            Self::Oathtool => "one-time codes of another program",
            Self::Age | Self::Gnupg => "what holders of shares decrypt with",
            Self::Aiosmtpd => "mail to a server that is not ours",
            Self::Mounts => "full and read-only disks",
            Self::Faketime => "what happens after days",
            Self::Node | Self::OidcProvider => "logins with an OpenID provider",
            Self::Slapd => "logins with a directory",
            Self::Softhsm => "a hardware security module as root of trust",
            Self::Swtpm => "a root of trust in a TPM",
            Self::GoogleKms => "a root of trust in Google Cloud KMS",
            Self::Moto => "a root of trust in AWS KMS",
            Self::AzureLibraries => "a root of trust in Azure Key Vault",
            Self::Vault => "a root of trust in Vault",
            Self::Cmake => "the FIPS build of AWS-LC",
            Self::Go => "the FIPS build of AWS-LC, and Vault",
        }
    }

    fn find(self, root: &Path) -> Option<String> {
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let asked = |program: &str| cargo::output_of(Command::new(program).arg("--version")).map(first_line);
        match self {
            Self::Rustfmt => asked("cargo-fmt").and(asked("rustfmt")),
            Self::Clippy => asked("cargo-clippy"),
            Self::Cxx => asked(&std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())),
            Self::Postgres => postgres::programs().and_then(|folder| asked(&folder.join("postgres").to_string_lossy())),
            Self::Openssl => cargo::output_of(Command::new("openssl").arg("version")),
            Self::Curl => asked("curl"),
            Self::Python => {
                let imports = Command::new("python3").args(["-c", "import cryptography, venv, ensurepip"]).output();
                imports.ok().filter(|output| output.status.success()).and_then(|_| asked("python3"))
            }
            Self::Faketime => asked("faketime"),
            Self::Node => asked("node"),
            Self::OidcProvider => oidc_provider(root),
            Self::Slapd => {
                let path = ["/usr/sbin/slapd", "/usr/local/libexec/slapd", "/usr/libexec/slapd"];
                path.into_iter().find_map(slapd_version)
            }
            // The maker's library, and somebody else's tool for it.
            Self::Softhsm => {
                let library = Path::new("/usr/lib/softhsm/libsofthsm2.so").exists();
                let tool = asked("softhsm2-util").filter(|_| library);
                tool.filter(|_| Command::new("pkcs11-tool").arg("--help").output().is_ok())
            }
            Self::GoogleKms => libraries(root, "google-kms", "google.cloud.kms_v1, cryptography", GOOGLE_KMS),
            Self::Moto => libraries(root, "moto", "boto3, moto.server", MOTO),
            Self::AzureLibraries => {
                libraries(root, "azure-keyvault", "azure.identity, azure.keyvault.keys, cryptography, jwt", AZURE)
            }
            Self::Vault => {
                let said = cargo::output_of(Command::new(vault_program(root)).arg("version"))?;
                (said == VAULT).then_some(said)
            }
            // The tools look at the TPM besides.
            Self::Swtpm => asked("swtpm").filter(|_| asked("tpm2_pcrread").is_some()),
            Self::Cmake => asked("cmake"),
            Self::Go => cargo::output_of(Command::new("go").arg("version")),
            Self::Schemathesis => asked(&environment(root, "schemathesis").join("bin/schemathesis").to_string_lossy()),
            Self::Fido2 => {
                let python = environment(root, "fido2").join("bin/python");
                cargo::output_of(
                    Command::new(python).args([
                        "-c",
                        "import fido2.server, importlib.metadata as m; print('fido2', m.version('fido2'))",
                    ]),
                )
            }
            Self::Chromium => {
                let certutil = Command::new("certutil").arg("-H").output().is_ok();
                asked("chromium").filter(|_| certutil && asked("chromedriver").is_some())
            }
            Self::Oathtool => asked("oathtool"),
            Self::Age => asked("age").filter(|_| asked("age-keygen").is_some()),
            Self::Gnupg => asked("gpg"),
            Self::Aiosmtpd => asked(&environment(root, "aiosmtpd").join("bin/aiosmtpd").to_string_lossy()),
            Self::Mounts => {
                let how = if is_root() { "-m" } else { "-rm" };
                let made =
                    cargo::output_of(Command::new("unshare").args([how, "mount", "-t", "tmpfs", "none", "/mnt"]));
                made.and_then(|_| asked("unshare"))
            }
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Rustfmt => Source::Rustup("rustfmt"),
            Self::Clippy => Source::Rustup("clippy"),
            Self::Cxx => Source::Apt(&["g++"]),
            Self::Postgres => Source::Apt(&["postgresql"]),
            Self::Openssl => Source::Apt(&["openssl"]),
            Self::Curl => Source::Apt(&["curl"]),
            Self::Python => Source::Apt(&["python3", "python3-cryptography", "python3-venv"]),
            Self::Schemathesis => Source::Pip { environment: "schemathesis", package: SCHEMATHESIS },
            Self::Aiosmtpd => Source::Pip { environment: "aiosmtpd", package: AIOSMTPD },
            Self::Fido2 => Source::Pip { environment: "fido2", package: FIDO2 },
            Self::Chromium => Source::Apt(&["chromium", "chromium-driver", "libnss3-tools"]),
            Self::Oathtool => Source::Apt(&["oathtool"]),
            Self::Age => Source::Apt(&["age"]),
            Self::Gnupg => Source::Apt(&["gnupg"]),
            Self::Mounts => Source::Permission,
            Self::Faketime => Source::Apt(&["faketime"]),
            Self::Node => Source::Apt(&["nodejs", "npm"]),
            Self::OidcProvider => Source::Npm,
            Self::Slapd => Source::Apt(&["slapd", "ldap-utils"]),
            Self::Softhsm => Source::Apt(&["softhsm2", "opensc"]),
            Self::GoogleKms => Source::Pip { environment: "google-kms", package: GOOGLE_KMS },
            Self::Moto => Source::Pip { environment: "moto", package: MOTO },
            Self::AzureLibraries => Source::Pip { environment: "azure-keyvault", package: AZURE },
            Self::Vault => Source::GoProgram,
            Self::Swtpm => Source::Apt(&["swtpm", "tpm2-tools"]),
            Self::Cmake => Source::Apt(&["cmake"]),
            Self::Go => Source::Apt(&["golang-go"]),
        }
    }

    fn install_command(self) -> String {
        match self.source() {
            Source::Rustup(component) => format!("rustup component add {component}"),
            Source::Apt(packages) => {
                let packages = packages.join(" ");
                format!("apt-get update && apt-get install --no-install-recommends {packages}")
            }
            Source::Pip { environment, package } => {
                format!("python3 -m venv target/{environment}, then its pip installs {package}")
            }
            Source::Npm => {
                let (name, version) = OIDC_PROVIDER;
                format!("npm install --prefix target/oidc-provider {name}@{version}")
            }
            Source::GoProgram => {
                let at = vault_program(Path::new(""));
                format!("go build -o {} in {VAULT_SOURCE} (some minutes the first time)", at.display())
            }
            Source::Permission => "run as root, or where users may make namespaces".to_owned(),
        }
    }
}

enum Source {
    Rustup(&'static str),
    Apt(&'static [&'static str]),
    /// Into an environment of its own.
    Pip {
        environment: &'static str,
        package: &'static str,
    },
    /// The OpenID provider, into a folder of its own.
    Npm,
    /// Vault, built from its own modules.
    GoProgram,
    /// Nothing that can be installed.
    Permission,
}

/// Where what comes from Python's package index lives.
fn environment(root: &Path, name: &str) -> PathBuf {
    workspace::target_folder(root).join(name)
}

/// Where Vault is built to.
fn vault_program(root: &Path) -> PathBuf {
    workspace::target_folder(root).join("vault/vault")
}

/// Where what comes from Node's package registry lives.
fn npm_folder(root: &Path) -> PathBuf {
    workspace::target_folder(root).join("oidc-provider")
}

/// The provider's version, if it is the wanted one.
fn oidc_provider(root: &Path) -> Option<String> {
    let manifest = npm_folder(root).join("node_modules/oidc-provider/package.json");
    let text = std::fs::read_to_string(manifest).ok()?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("\"version\": "))?;
    let version = version.trim_matches(['"', ',']);
    (version == OIDC_PROVIDER.1).then(|| format!("{} {version}", OIDC_PROVIDER.0))
}

/// The versions of libraries for Python, if they are the pinned ones and can be imported.
fn libraries(root: &Path, folder: &str, imports: &str, pinned: &str) -> Option<String> {
    let named = |one: &str| one.split(['[', '=']).next().unwrap_or_default().to_owned();
    let names: Vec<String> = pinned.split(' ').map(named).collect();
    let ask =
        format!("import {imports}, importlib.metadata as m; print(*(n + '==' + m.version(n) for n in {names:?}))");
    let found = cargo::output_of(Command::new(environment(root, folder).join("bin/python")).args(["-c", &ask]))?;
    let wanted = |one: &str| one.split_once("==").map(|(_, version)| format!("{}=={version}", named(one)));
    let wanted: Vec<String> = pinned.split(' ').filter_map(wanted).collect();
    (found == wanted.join(" ")).then_some(found)
}

/// The program says its version on the standard error, as `@(#) $OpenLDAP: slapd 2.5.13 …`.
fn slapd_version(path: &str) -> Option<String> {
    let output = Command::new(path).arg("-VV").output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = said.split_once("slapd ")?.1.split_whitespace().next()?.to_owned();
    Some(format!("slapd {version}"))
}

/// Finds the tools, installs what is missing where it may; what is missing still.
pub(super) fn find_or_install(root: &Path, needs: &BTreeSet<Tool>) -> BTreeSet<Tool> {
    let absent: Vec<Tool> = needs.iter().copied().filter(|tool| tool.find(root).is_none()).collect();
    install(root, &absent);
    let mut missing = BTreeSet::new();
    for tool in needs {
        match tool.find(root) {
            Some(version) => println!("  {:<18} {version}", tool.name()),
            None => {
                println!("  {:<18} MISSING, needed for {}: {}", tool.name(), tool.needed_for(), tool.install_command());
                missing.insert(*tool);
            }
        }
    }
    missing
}

fn install(root: &Path, absent: &[Tool]) {
    let (mut packages, mut from_index, mut from_npm) = (Vec::new(), Vec::new(), false);
    let mut from_modules = false;
    for tool in absent {
        match tool.source() {
            Source::Rustup(component) => {
                ran(Command::new("rustup").args(["component", "add", component]));
            }
            Source::Apt(names) => packages.extend(names),
            Source::Pip { environment, package } => from_index.push((environment, package)),
            Source::Npm => from_npm = true,
            Source::GoProgram => from_modules = true,
            Source::Permission => {}
        }
    }
    install_packages(&packages);
    for (name, package) in from_index {
        let environment = environment(root, name);
        println!("  installing {package} in {}", environment.display());
        if ran(Command::new("python3").args(["-m", "venv"]).arg(&environment)) {
            ran(Command::new(environment.join("bin/pip")).args(["install", "--quiet"]).args(package.split(' ')));
        }
    }
    if from_modules {
        let program = vault_program(root);
        println!("  building {VAULT} in {}; this takes some minutes", program.display());
        let mut go = Command::new("go");
        go.current_dir(root.join(VAULT_SOURCE)).args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(program);
        ran(&mut go);
    }
    if from_npm {
        let (folder, (name, version)) = (npm_folder(root), OIDC_PROVIDER);
        println!("  installing {name}@{version} in {}", folder.display());
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(folder);
        ran(npm.arg(format!("{name}@{version}")));
    }
}

fn install_packages(packages: &[&str]) {
    if packages.is_empty() {
        return;
    }
    if !is_root() {
        println!("  not root, so nothing is installed from the distribution's packages");
        return;
    }
    println!("  installing {}", packages.join(", "));
    let mut update = Command::new("apt-get");
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    if ran(update.args(["update", "-q"])) {
        ran(&mut install);
    }
}

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    cargo::output_of(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}

fn ran(command: &mut Command) -> bool {
    cargo::succeeds(command).unwrap_or_else(|error| {
        println!("  {error}");
        false
    })
}

/// One passed for what is there. What is missing is counted by the step that cannot run for it.
pub(super) fn tally(needs: &BTreeSet<Tool>, missing: &BTreeSet<Tool>) -> Tally {
    let mut tally = Tally { passed: (needs.len() - missing.len()) as u64, ..Tally::default() };
    tally.reasons.extend(missing.iter().map(|tool| format!("no {} ({})", tool.name(), tool.install_command())));
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let needs = BTreeSet::from([Tool::Cxx, Tool::Postgres]);
        let tally = tally(&needs, &BTreeSet::from([Tool::Postgres]));
        assert_eq!(tally.passed, 1);
        assert!(tally.detail().contains("no PostgreSQL server (apt-get update && apt-get install"));
    }
}
