//! A real directory: OpenLDAP's slapd as a child process, with its own data, ports and certificate.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

use crate::{Pki, Server, wait_until};

/// Where everybody is.
const BASE: &str = "dc=example,dc=com";
/// As whom the directory is searched, and its password. People cannot be searched anonymously.
const SERVICE: (&str, &str) = ("cn=keyreeve,dc=example,dc=com", "the service's own");
/// Names with characters that mean something in filters and in distinguished names.
const ODD: [&str; 4] = ["star*", "o'brien (ops)", "back\\slash", "comma, plus+"];

/// A running directory. Ended when it is dropped.
///
/// `alice` is in the groups `keys` and `staff`, `bob` in `staff`; the password of each NAME is `NAME knows this`.
#[derive(Debug)]
pub struct Slapd {
    tls_port: u16,
    plain_port: u16,
    pki: Pki,
    _server: Server,
    _home: TempDir,
}

/// `/usr/sbin` is in nobody's path but root's.
fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/local/libexec", "/usr/libexec"].map(|folder| Path::new(folder).join(name));
    found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

impl Slapd {
    /// Starts one that offers TLS; none, said aloud, where slapd is missing.
    ///
    /// # Panics
    /// When it is missing and everything must run, or does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(true)
    }

    /// Starts one that has no certificate and refuses StartTLS.
    ///
    /// # Panics
    /// When it is missing and everything must run, or does not start.
    #[must_use]
    pub fn start_without_tls() -> Option<Self> {
        Self::start_with(false)
    }

    fn start_with(tls: bool) -> Option<Self> {
        if !Command::new(program("slapd")).arg("-VV").output().is_ok_and(|output| output.status.success()) {
            crate::not_run("slapd is missing: `cargo xtask test` installs it");
            return None;
        }
        let (home, pki) = (tempfile::tempdir().unwrap(), Pki::new("of the directory"));
        let settings = settings(home.path(), &pki, tls);
        std::fs::create_dir(home.path().join("data")).unwrap();
        std::fs::write(home.path().join("slapd.conf"), settings).unwrap();
        fill(home.path());
        // Another process may be faster at either port; then slapd ends, and others are tried.
        for _ in 0..5 {
            let (plain_port, tls_port) = (free_port(), free_port());
            let mut places = format!("ldap://127.0.0.1:{plain_port}/");
            if tls {
                places.push_str(&format!(" ldaps://127.0.0.1:{tls_port}/"));
            }
            let mut command = Command::new(program("slapd"));
            crate::tidy_environment(&mut command, home.path());
            // With a level of debugging it stays a child of this process.
            command.args(["-d", "0", "-h", &places, "-f"]).arg(home.path().join("slapd.conf")).stdin(Stdio::null());
            let mut server = Server::spawn(&mut command);
            let last = if tls { tls_port } else { plain_port };
            let serves = wait_until(Duration::from_secs(30), || {
                !server.is_running() || TcpStream::connect(("127.0.0.1", last)).is_ok()
            });
            assert!(serves, "slapd neither serves nor ends:\n{}", server.log());
            if server.is_running() {
                return Some(Self { tls_port, plain_port, pki, _server: server, _home: home });
            }
        }
        panic!("slapd does not start");
    }

    /// `ldaps://localhost:PORT`.
    #[must_use]
    pub fn ldaps(&self) -> String {
        format!("ldaps://localhost:{}", self.tls_port)
    }

    /// `ldap://localhost:PORT`, where StartTLS is offered.
    #[must_use]
    pub fn ldap(&self) -> String {
        format!("ldap://localhost:{}", self.plain_port)
    }

    /// The port without TLS, where StartTLS is offered.
    #[must_use]
    pub fn plain_port(&self) -> u16 {
        self.plain_port
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.pki.pem()
    }

    /// Below which entry everybody is.
    #[must_use]
    pub fn base(&self) -> &'static str {
        BASE
    }

    /// Name and password of the service account.
    #[must_use]
    pub fn service(&self) -> (&'static str, &'static str) {
        SERVICE
    }

    /// Names with odd characters.
    #[must_use]
    pub fn odd_names(&self) -> [&'static str; 4] {
        ODD
    }
}

fn settings(home: &Path, pki: &Pki, tls: bool) -> String {
    let path = |name: &str| home.join(name).display().to_string();
    let mut text =
        ["core", "cosine", "inetorgperson"].map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
    if tls {
        let (certificate, key) = pki.server();
        for (name, pem) in [("ca.pem", pki.pem()), ("certificate.pem", &certificate), ("key.pem", &key)] {
            std::fs::write(home.join(name), pem).unwrap();
        }
        for (setting, name) in [
            ("TLSCACertificateFile", "ca.pem"),
            ("TLSCertificateFile", "certificate.pem"),
            ("TLSCertificateKeyFile", "key.pem"),
        ] {
            text.push_str(&format!("{setting} {}\n", path(name)));
        }
    }
    text.push_str(&format!(
        "modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {}\ndatabase mdb\nsuffix \"{BASE}\"\n\
         directory {}\nmaxsize 16777216\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by dn.exact=\"{}\" read by anonymous auth by * none\n",
        path("slapd.pid"),
        path("data"),
        SERVICE.0,
    ));
    text
}

/// Writes the entries into the data of a directory that does not run yet.
fn fill(home: &Path) {
    let mut entries = format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: {}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: keyreeve\nuserPassword: {}\n\n\
         dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{BASE}\nobjectClass: organizationalUnit\nou: groups\n\n",
        SERVICE.0, SERVICE.1,
    );
    for (number, name) in ["alice", "bob"].into_iter().chain(ODD).enumerate() {
        // Odd names are values only: the entry itself has a plain name.
        let dn = if number < 2 { format!("uid={name}") } else { format!("cn=odd-{number}") };
        entries.push_str(&format!(
            "dn: {dn},ou=people,{BASE}\nobjectClass: inetOrgPerson\ncn: odd-{number}\nsn: {number}\nuid: {name}\n\
             userPassword: {name} knows this\n\n"
        ));
    }
    for (group, members) in [("staff", ["alice", "bob"].as_slice()), ("keys", &["alice"])] {
        let members: String = members.iter().map(|name| format!("member: uid={name},ou=people,{BASE}\n")).collect();
        entries
            .push_str(&format!("dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {group}\n{members}\n"));
    }
    let mut child = Command::new(program("slapadd"))
        .args(["-q", "-f"])
        .arg(home.join("slapd.conf"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(entries.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "slapadd: {}", String::from_utf8_lossy(&done.stderr));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
