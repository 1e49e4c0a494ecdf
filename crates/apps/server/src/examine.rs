//! What `keyreeve config check` looks at beyond what keeps a server from starting: certificates that clients will not
//! accept, directories that are not there.

use keyreeve_crypto::Random;
use keyreeve_model::UnixMillis;
use keyreeve_root_tpm::{Options, Survey};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::assemble::open_anchor;
use crate::config::{Config, ConfigError, Fault, ListenerConfig, RootConfig, StoreConfig, TlsFiles, Unsure};
use crate::files::{self, Trouble};
use crate::machine::SystemEntropy;

/// How long before its end a certificate is worth a warning (days).
const SOON_DAYS: u32 = 30;

/// What was looked at in a configuration that is in order, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Each thing that was looked at, with what was seen.
    pub checked: Vec<String>,
    /// What will make trouble though the server starts.
    pub warnings: Vec<String>,
    /// What is worth a thought.
    pub remarks: Vec<String>,
}

/// Looks at the files and directories that `config`, read from `file`, names.
pub(crate) fn examine(config: &Config, file: &Path, now: UnixMillis) -> Result<Checked, ConfigError> {
    let mut found = Checked { remarks: config.remarks(), ..Checked::default() };
    found.checked.push(format!("{}: every field is known and fits the others", file.display()));
    for (field, path) in directories(config) {
        found.directory(config, field, &path).map_err(|trouble| Fault::file(field, trouble).in_file(file))?;
    }
    if let StoreConfig::Postgres { password_file: Some(path), .. } = &config.store {
        found.checked.push(format!("store.password_file: {} is for its owner alone", path.display()));
    }
    found.roots(config).map_err(|fault| fault.in_file(file))?;
    found.backups(config).map_err(|fault| fault.in_file(file))?;
    found.anchors(config).map_err(|fault| fault.in_file(file))?;
    found.listeners(config, now).map_err(|fault| fault.in_file(file))?;
    found.checked.extend(config.notify.seen().map_err(|fault| fault.in_file(file))?);
    Ok(found)
}

/// What the server's certificates will make trouble with; for its log.
pub(crate) fn certificate_warnings(config: &Config, now: UnixMillis) -> Vec<String> {
    let mut found = Checked::default();
    // Files that cannot be read are told of when the listeners open them.
    let _ = found.listeners(config, now);
    found.warnings
}

/// The place of a database, which is made with the directories around it.
const DATABASE: &str = "store.path";

fn directories(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let mut directories = vec![("data_dir", config.data_dir.clone())];
    if let StoreConfig::Sqlite { path } = &config.store
        && let Some(directory) = config.sqlite_path(path.as_deref()).parent()
    {
        directories.push((DATABASE, directory.to_owned()));
    }
    directories.push(("epochs.dir", config.epochs_dir()));
    directories.push(("audit.dir", config.audit_dir()));
    directories
}

impl Checked {
    fn roots(&mut self, config: &Config) -> Result<(), Fault> {
        for (field, _, root) in config.named_roots() {
            match root {
                RootConfig::Tpm(tpm) => self.tpm(&field, &tpm.options(&field, &config.data_dir)?),
                RootConfig::Pkcs11(token) => self.checked.extend(token.seen(&field)),
                RootConfig::AwsKms(aws) => self.checked.extend(aws.seen(&field)),
                RootConfig::AzureKeyVault(azure) => self.checked.extend(azure.seen(&field)),
                RootConfig::GoogleKms(google) => self.checked.extend(google.seen(&field)),
                RootConfig::VaultTransit(vault) => self.checked.extend(vault.seen(&field)),
                RootConfig::Shamir {} | RootConfig::SealedFile {} => {}
            }
        }
        Ok(())
    }

    /// The directories and programs of `[backup]`.
    fn backups(&mut self, config: &Config) -> Result<(), Fault> {
        let Some(backup) = &config.backup else {
            self.remarks.push("there is no `[backup]`: whoever loses this machine loses every key".to_owned());
            return Ok(());
        };
        let dir = config.backup_dir();
        self.directory(config, "backup.dir", &dir).map_err(|trouble| Fault::file("backup.dir", trouble))?;
        for (name, destination) in &backup.destinations {
            let field = format!("backup.destinations.{name}");
            if let Some(path) = destination.directory() {
                let field = format!("{field}.path");
                self.directory(config, &field, path).map_err(|trouble| Fault::file(field.clone(), trouble))?;
                if path.starts_with(&config.data_dir) {
                    let path = path.display();
                    self.warnings.push(format!("{field}: {path} is in the data directory, and lost with it"));
                }
            }
            self.checked.extend(destination.seen(&field)?);
        }
        if backup.destinations.len() < 2 {
            self.remarks.push("backup.destinations: one place alone; name at least two, on other machines".to_owned());
        }
        Ok(())
    }

    /// Looks whether each anchor is there.
    fn anchors(&mut self, config: &Config) -> Result<(), Fault> {
        let Ok(random) = Random::start(Box::new(SystemEntropy)) else { return Ok(()) };
        // Whoever checks a configuration has no runtime of its own.
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Ok(()) };
        for (name, anchor) in &config.anchors {
            let opened = open_anchor(name, anchor, &random)?;
            let place = format!("anchors.{name}: {} {}", opened.kind(), opened.place());
            if anchor.counter("")?.is_some_and(|options| options.device.is_simulated()) {
                self.warnings.push(format!("{place} is a program that plays a TPM, and protects nothing"));
            }
            match runtime.block_on(opened.read()) {
                Ok(held) => self.checked.push(match held.count {
                    Some(count) => format!("{place} is there, at step {count}"),
                    None => format!("{place} is there, and was not used yet"),
                }),
                Err(error) if anchor.required() => {
                    self.warnings.push(format!("{place}: {error}; the server does not open without it"));
                }
                Err(error) => self.warnings.push(format!("{place}: {error}")),
            }
        }
        Ok(())
    }

    /// Asks the TPM whether it would open the root, as it will be asked at the start.
    fn tpm(&mut self, field: &str, options: &Options) {
        let device = &options.device;
        if device.is_simulated() {
            self.warnings.push(format!("{field}.device: {device} is a program that plays a TPM, and protects nothing"));
        }
        let Ok(random) = Random::start(Box::new(SystemEntropy)) else { return };
        let Survey { approved, opens } = Survey::take(options, &random);
        match approved {
            Ok(name) => self.checked.push(format!("{field}.approvals: {name} approves what the PCRs of {device} hold")),
            Err(trouble) => self.warnings.push(format!("{field}: {trouble}")),
        }
        match opens {
            Some(Ok(())) => self.checked.push(format!("{field}: the TPM opens the sealed key")),
            Some(Err(trouble)) => self.warnings.push(format!("{field}: {trouble}")),
            None => {}
        }
    }

    fn directory(&mut self, config: &Config, field: &str, path: &Path) -> Result<(), Trouble> {
        files::check_directory(path)?;
        let name = path.display();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.is_dir() {
            self.checked.push(format!("{field}: {name} is for its owner alone"));
        } else if parent.is_dir() || parent.starts_with(&config.data_dir) || field == DATABASE {
            self.checked.push(format!("{field}: {name} is not there yet; the server makes it"));
        } else {
            let problem = format!("{name} is not there, nor is the directory around it, so the server cannot make it");
            let remedy = format!("make {}, writable for the user that runs the server", parent.display());
            return Err(Trouble::new(problem, remedy));
        }
        Ok(())
    }

    fn listeners(&mut self, config: &Config, now: UnixMillis) -> Result<(), Fault> {
        for (name, listener) in config.listeners.named() {
            match &listener.tls {
                Some(tls) => self.certificate(name, listener, tls, now)?,
                None => self.checked.push(format!("listeners.{name}: {} without TLS", listener.address)),
            }
        }
        Ok(())
    }

    fn certificate(
        &mut self,
        name: &str,
        listener: &ListenerConfig,
        tls: &TlsFiles,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let field = format!("listeners.{name}.tls");
        let certificates = read(&tls.cert, &format!("{field}.cert"))?;
        let place = format!("{field}.cert: {}", tls.cert.display());
        if let Some(own) = certificates.first() {
            let names = own.names.join(", ");
            self.checked.push(format!("{place} is for {names}, until {}, and fits its key", own.end));
            self.warnings.extend(own.troubles(now, true).iter().map(|trouble| format!("{place} {trouble}")));
            self.name(&place, name, listener.address, own);
        }
        for issuer in certificates.iter().skip(1) {
            let troubles = issuer.troubles(now, false);
            self.warnings.extend(troubles.iter().map(|trouble| format!("{place}: an issuer in it {trouble}")));
        }
        if let Some(path) = &tls.client_ca {
            let place = format!("{field}.client_ca: {}", path.display());
            let issuers = read(path, &format!("{field}.client_ca"))?;
            self.checked.push(format!("{place} has issuers of client certificates: {}", issuers.len()));
            for issuer in issuers {
                let troubles = issuer.troubles(now, false);
                self.warnings.extend(troubles.iter().map(|trouble| format!("{place}: an issuer in it {trouble}")));
            }
        }
        tls.client_crl.iter().try_for_each(|path| self.revocations(path, (&field, tls.client_crl_expired), now))
    }

    /// What clients' authorities revoked, and whether they say so still.
    fn revocations(&mut self, path: &Path, (field, expired): (&str, Unsure), now: UnixMillis) -> Result<(), Fault> {
        let field = format!("{field}.client_crl");
        let bytes = files::read_public(path).map_err(|trouble| Fault::file(&field, trouble))?;
        let place = format!("{field}: {}", path.display());
        let in_pem: Vec<Vec<u8>> = Pem::iter_from_buffer(&bytes).flatten().map(|pem| pem.contents).collect();
        for der in if in_pem.is_empty() { vec![bytes] } else { in_pem } {
            // Whether each can be used was looked at with the rest of the configuration.
            let Ok((_, list)) = CertificateRevocationList::from_der(&der) else { continue };
            let revoked = list.iter_revoked_certificates().count();
            let Some(next) = list.next_update() else { continue };
            let end = next.to_datetime().date();
            self.checked.push(format!("{place} of {}: {revoked} revoked, the next is due by {end}", list.issuer()));
            if next.timestamp() < now.0 / 1000 {
                let what = match expired {
                    Unsure::Refuse => "clients of this authority are refused",
                    Unsure::Accept => "what was revoked since is not known",
                };
                self.warnings.push(format!("{place} of {} is out of date since {end}: {what}", list.issuer()));
            }
        }
        Ok(())
    }

    /// Whether clients that come to this address find it in the certificate. Names may lead there: that cannot be known
    /// here.
    fn name(&mut self, place: &str, name: &str, address: SocketAddr, own: &Seen) {
        let ip = address.ip();
        let loopback_name = ip.is_loopback() && own.names.iter().any(|name| name == "localhost");
        if ip.is_unspecified() || loopback_name || own.addresses.contains(&ip) || own.names.is_empty() {
            return;
        }
        let names = own.names.join(", ");
        let text = format!("{place} is not for {ip}, where `listeners.{name}` listens: clients must use {names}");
        if own.has_names { self.remarks.push(text) } else { self.warnings.push(text) }
    }
}

/// What matters of a certificate.
struct Seen {
    /// Names and addresses it is for.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    /// Whether it is for names, besides addresses.
    has_names: bool,
    is_authority: bool,
    for_servers: bool,
    begins_seconds: i64,
    ends_seconds: i64,
    /// Its last day.
    end: String,
}

fn read(path: &Path, field: &str) -> Result<Vec<Seen>, Fault> {
    let bytes = files::read_public(path).map_err(|trouble| Fault::file(field, trouble))?;
    let wrong = |why: String| Fault::new(field, why, "name a PEM file with certificates");
    let mut seen = Vec::new();
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.map_err(|error| wrong(format!("{} is not PEM ({error})", path.display())))?;
        if pem.label != "CERTIFICATE" {
            continue;
        }
        let certificate = pem.parse_x509();
        let certificate =
            certificate.map_err(|error| wrong(format!("a certificate in {} is damaged ({error})", path.display())))?;
        seen.push(Seen::of(&certificate));
    }
    Ok(seen)
}

impl Seen {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let (mut names, mut addresses, mut has_names) = (Vec::new(), Vec::new(), false);
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
            match name {
                GeneralName::DNSName(name) => {
                    names.push((*name).to_owned());
                    has_names |= *name != "localhost";
                }
                GeneralName::IPAddress(bytes) => {
                    let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                    addresses.extend(address.ok());
                    names.extend(address.ok().map(|address| address.to_string()));
                }
                _ => {}
            }
        }
        let usage = certificate.extended_key_usage().ok().flatten();
        let validity = certificate.validity();
        Self {
            names,
            addresses,
            has_names,
            is_authority: certificate.is_ca(),
            for_servers: usage.is_none_or(|usage| usage.value.server_auth || usage.value.any),
            begins_seconds: validity.not_before.timestamp(),
            ends_seconds: validity.not_after.timestamp(),
            end: validity.not_after.to_datetime().date().to_string(),
        }
    }

    /// What clients will not accept, now or soon.
    fn troubles(&self, now: UnixMillis, own: bool) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut say = |text: &str| troubles.push(text.to_owned());
        if own && self.is_authority {
            say("is the certificate of an authority (CA:TRUE): clients refuse it; have one made for the server");
        }
        if own && self.names.is_empty() {
            say("names no host (subjectAltName): clients refuse it; have one made with the server's name");
        }
        if own && !self.for_servers {
            say("is not for servers (extendedKeyUsage without serverAuth): clients refuse it");
        }
        let mut text = String::new();
        if self.ends_seconds < now.0 / 1000 {
            let _ = write!(text, "expired on {}: clients refuse it; replace it, then send SIGHUP", self.end);
        } else if self.ends_seconds < now.plus_days(SOON_DAYS).0 / 1000 {
            let _ = write!(text, "expires on {}: replace it before, then send SIGHUP", self.end);
        } else if self.begins_seconds > now.0 / 1000 {
            text.push_str("is not valid yet: clients refuse it; is the clock right?");
        }
        troubles.extend(Some(text).filter(|text| !text.is_empty()));
        troubles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
    use std::os::unix::fs::PermissionsExt;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    /// What is found in a configuration whose server has a certificate of this kind.
    fn found(listen: &str, names: &[&str], alter: impl FnOnce(&mut CertificateParams)) -> Checked {
        let dir = configured(listen, names, alter);
        examined(&dir, "").unwrap()
    }

    fn examined(dir: &tempfile::TempDir, more: &str) -> Result<Checked, ConfigError> {
        let text = std::fs::read_to_string(dir.path().join("keyreeve.toml")).unwrap();
        let path = dir.path().join("more.toml");
        std::fs::write(&path, format!("{text}{more}")).unwrap();
        examine(&Config::load(&path)?, &path, NOW)
    }

    fn configured(listen: &str, names: &[&str], alter: impl FnOnce(&mut CertificateParams)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        alter(&mut params);
        let key = KeyPair::generate().unwrap();
        files::write_private(&dir.path().join("cert.pem"), params.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
        files::write_private(&dir.path().join("key.pem"), key.serialize_pem().as_bytes()).unwrap();
        let text = format!(
            "data_dir = \"data\"\n[root]\nkind = \"shamir\"\n[audit]\norigin = \"a/b\"\n[listeners.all]\n\
             address = \"{listen}\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n"
        );
        std::fs::write(dir.path().join("keyreeve.toml"), text).unwrap();
        dir
    }

    #[test]
    fn a_good_certificate_is_named_and_not_warned_of() {
        let found = found("10.1.2.3:7433", &["kms.example.com", "10.1.2.3"], |_| ());
        assert!(found.warnings.is_empty(), "{found:?}");
        assert!(found.checked.iter().any(|line| line.contains("kms.example.com, 10.1.2.3, until 4096-01-01")));
        assert!(found.checked.iter().any(|line| line.starts_with("epochs.dir: ")), "{found:?}");
        assert!(self::found("0.0.0.0:7433", &["kms.example.com"], |_| ()).warnings.is_empty());
        assert!(self::found("127.0.0.1:7433", &["localhost"], |_| ()).warnings.is_empty());
    }

    /// The server makes a directory, and not those around it; a database's it does.
    #[test]
    fn a_directory_that_cannot_be_made_is_refused() {
        let dir = configured("127.0.0.1:7433", &["localhost"], |_| ());
        let epochs = "[epochs]\ndir = \"away/epochs\"\n";
        let refused = examined(&dir, epochs).unwrap_err().to_string();
        assert!(refused.contains("epochs.dir") && refused.contains("cannot make it"), "{refused}");
        let store = "[store]\nkind = \"sqlite\"\npath = \"away/store/keys.db\"\n";
        assert!(examined(&dir, store).unwrap().checked.iter().any(|line| line.starts_with("store.path: ")));
        std::fs::create_dir(dir.path().join("away")).unwrap();
        assert!(examined(&dir, epochs).unwrap().warnings.is_empty());
    }

    #[test]
    fn what_clients_will_not_accept_is_warned_of() {
        type Alter = fn(&mut CertificateParams);
        let cases: [(&str, &[&str], Alter, &str); 7] = [
            ("0.0.0.0:1", &["a.test"], |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "CA:TRUE"),
            ("0.0.0.0:1", &[], |_| (), "subjectAltName"),
            ("0.0.0.0:1", &["a.test"], |p| p.not_after = date_time_ymd(2026, 1, 1), "expired on 2026-01-01"),
            ("0.0.0.0:1", &["a.test"], |p| p.not_after = date_time_ymd(2027, 1, 31), "expires on 2027-01-31"),
            ("0.0.0.0:1", &["a.test"], |p| p.not_before = date_time_ymd(2030, 1, 1), "not valid yet"),
            (
                "0.0.0.0:1",
                &["a.test"],
                |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
                "serverAuth",
            ),
            ("10.1.2.3:1", &["10.1.2.4"], |_| (), "is not for 10.1.2.3"),
        ];
        for (listen, names, alter, says) in cases {
            let found = found(listen, names, alter);
            assert_eq!(found.warnings.len(), 1, "{says}: {found:?}");
            assert!(found.warnings[0].contains(says) && found.warnings[0].contains("cert.pem"), "{found:?}");
        }
        // A name may lead to the address.
        let named = found("10.1.2.3:1", &["a.test"], |_| ());
        assert!(named.warnings.is_empty() && named.remarks.iter().any(|line| line.contains("10.1.2.3")), "{named:?}");
    }

    #[test]
    fn a_list_of_revoked_certificates_that_is_out_of_date_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "clients");
        let pem = params.self_signed(&key).unwrap().pem();
        files::write_private(&dir.path().join("cert.pem"), pem.as_bytes()).unwrap();
        files::write_private(&dir.path().join("key.pem"), key.serialize_pem().as_bytes()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let config = "data_dir = \"data\"\n[root]\nkind = \"shamir\"\n[audit]\norigin = \"a/b\"\n[listeners.all]\n\
                      address = \"127.0.0.1:1\"\n[listeners.all.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
                      client_ca = \"cert.pem\"\nclient_auth = \"required\"\nclient_crl = [\"list\"]\n";
        let path = dir.path().join("keyreeve.toml");
        std::fs::write(&path, config).unwrap();
        let with = |year: i32| {
            let list = rcgen::CertificateRevocationListParams {
                this_update: date_time_ymd(2020, 1, 1),
                next_update: date_time_ymd(year, 1, 1),
                crl_number: rcgen::SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: rcgen::KeyIdMethod::Sha256,
            };
            std::fs::write(dir.path().join("list"), list.signed_by(&issuer).unwrap().der()).unwrap();
            examine(&Config::load(&path).unwrap(), &path, NOW).unwrap()
        };
        let about =
            |lines: &[String]| lines.iter().filter(|line| line.contains("client_crl")).cloned().collect::<Vec<_>>();
        let good = with(3000);
        assert_eq!(about(&good.warnings).len(), 0, "{good:?}");
        assert!(about(&good.checked)[0].contains("0 revoked, the next is due by 3000-01-01"), "{good:?}");
        let old = with(2021);
        assert!(about(&old.warnings)[0].contains("out of date since 2021-01-01: clients of this authority"), "{old:?}");
    }

    #[test]
    fn directories_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let make = |more: &str| {
            let text = format!(
                "data_dir = \"data\"\n[root]\nkind = \"shamir\"\n[audit]\norigin = \"a/b\"\n{more}\n\
                 [listeners.all]\naddress = \"127.0.0.1:1\"\nplain_http = true\n"
            );
            let path = dir.path().join("keyreeve.toml");
            std::fs::write(&path, text).unwrap();
            examine(&Config::load(&path).unwrap(), &path, NOW)
        };
        assert!(make("").unwrap().warnings.is_empty());
        let missing = make("dir = \"not/there\"").unwrap_err();
        assert!(missing.field == "audit.dir" && missing.problem.contains("cannot make it"), "{missing}");
        std::fs::create_dir(dir.path().join("log")).unwrap();
        std::fs::set_permissions(dir.path().join("log"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let open = make("dir = \"log\"").unwrap_err();
        assert_eq!(open.field, "audit.dir");
        assert!(open.remedy.contains("chmod 700"));
    }
}
