//! Where the database is: read so narrowly that what is judged here is what the driver connects to.

use std::net::{IpAddr, Ipv6Addr};

use super::Fault;

const FIELD: &str = "store.url";
const REMEDY: &str = "write `postgres://user@host:5432/database?sslmode=verify-full`";
/// Variables that the driver takes for what the address leaves out, or adds to it (libpq's environment variables).
const VARIABLES: [&str; 12] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGOPTIONS",
];
/// Values of `sslmode`.
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

fn fault(problem: impl Into<String>) -> Fault {
    Fault::new(FIELD, problem, REMEDY)
}

/// Refuses to start where the environment decides which database is used.
pub(super) fn check_environment(is_set: impl Fn(&str) -> bool) -> Result<(), Fault> {
    let set: Vec<&str> = VARIABLES.into_iter().filter(|name| is_set(name)).collect();
    if set.is_empty() {
        return Ok(());
    }
    let problem = format!("the environment sets {} and would change what it says", set.join(", "));
    Err(Fault::new(FIELD, problem, "unset them: the configuration alone says which database is used"))
}

/// Checks the address of a database. It holds no password, and a database elsewhere is verified.
pub(super) fn check(url: &str, password: bool) -> Result<(), Fault> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| fault("it is no PostgreSQL address"))?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')) {
        return Err(fault("it contains spaces, `#`, `\\` or characters beyond ASCII"));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, _database) = place.split_once('/').unwrap_or((place, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') || query.split('&').any(|pair| pair.starts_with("password")) {
        let remedy = "put it into a file of mode 600 and name that in `store.password_file`";
        return Err(Fault::new(FIELD, "it contains a password", remedy));
    }
    if user.contains('@') {
        return Err(fault("it contains two `@`"));
    }
    if password && user.is_empty() {
        return Err(fault("there is a password and no user"));
    }
    let mode = sslmode(query)?;
    // PostgreSQL's own default, `prefer`, takes whoever answers.
    if !is_local(without_port(host)?)? && mode != Some("verify-full") {
        let problem = "the database's certificate would not be verified";
        let remedy = "add `?sslmode=verify-full`, and `&sslrootcert=FILE` for an issuer of your own";
        return Err(Fault::new(FIELD, problem, remedy));
    }
    Ok(())
}

/// The value of `sslmode`. Other parameters could name another host or undo the verification.
fn sslmode(query: &str) -> Result<Option<&str>, Fault> {
    let (mut mode, mut issuer) = (None, None);
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "sslmode" if MODES.contains(&value) => &mut mode,
            "sslmode" => return Err(fault(format!("`sslmode` is none of {}", MODES.join(", ")))),
            "sslrootcert" if !value.is_empty() => &mut issuer,
            "sslrootcert" => return Err(fault("`sslrootcert` names no file")),
            _ => return Err(fault("it has parameters other than `sslmode` and `sslrootcert`")),
        };
        if place.replace(value).is_some() {
            return Err(fault(format!("`{name}` is given twice")));
        }
    }
    Ok(mode)
}

fn without_port(host: &str) -> Result<&str, Fault> {
    let after = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = host[after..].find(':').map(|at| after + at) else { return Ok(host) };
    let port = &host[colon + 1..];
    if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Ok(&host[..colon]);
    }
    Err(fault("its port is no number from 1 to 65535"))
}

/// Whether the host is this machine: no host at all is the socket or `localhost`.
fn is_local(host: &str) -> Result<bool, Fault> {
    if host.is_empty() || host == "localhost" {
        return Ok(true);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = inner.parse::<Ipv6Addr>().map_err(|_| fault("its host is no IPv6 address"))?;
        return Ok(address.is_loopback());
    }
    // The directory of a Unix socket, percent-encoded: it begins with a slash.
    if let Some(path) = host.strip_prefix("%2F").or_else(|| host.strip_prefix("%2f")) {
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'.' | b'_' | b'-');
        return if path.bytes().all(fit) { Ok(true) } else { Err(fault("its socket is no percent-encoded path")) };
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return Err(fault("its host is no name and no address"));
    }
    Ok(host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> Option<String> {
        check(url, false).err().map(|fault| fault.into_parts().1)
    }

    #[test]
    fn databases_of_this_machine_need_no_certificate() {
        let hosts = ["", "localhost", "localhost:5432", "127.0.0.1", "127.8.0.1:5433", "[::1]", "[::1]:5432"];
        for host in hosts.into_iter().chain(["%2Frun%2Fpostgresql", "%2frun"]) {
            assert_eq!(problem(&format!("postgres://u@{host}/d")), None, "{host}");
            assert_eq!(problem(&format!("postgresql://u@{host}/d?sslmode=disable")), None, "{host}");
        }
        assert_eq!(problem("postgres:///d"), None);
    }

    #[test]
    fn databases_elsewhere_are_verified() {
        let hosts =
            ["db.example", "localhost.evil.example", "127.evil.example", "127.1", "10.0.0.1:5432", "[2001:db8::1]"];
        for host in hosts {
            for weaker in ["", "?sslmode=require", "?sslmode=verify-ca", "?sslrootcert=sslmode%3Dverify-full"] {
                let told = problem(&format!("postgres://u@{host}/d{weaker}")).unwrap();
                assert!(told.contains("would not be verified"), "{host}{weaker}: {told}");
            }
            assert_eq!(problem(&format!("postgres://u@{host}/d?sslmode=verify-full&sslrootcert=/ca.pem")), None);
        }
        assert!(problem("postgres://u@db.example/sslmode=verify-full").unwrap().contains("verified"));
    }

    #[test]
    fn parameters_cannot_lead_elsewhere() {
        for pair in
            ["host=db.example", "hostaddr=10.0.0.1", "port=1", "ssl-mode=disable", "options=-c", "dbname=x", "h%6fst=x"]
        {
            let told = problem(&format!("postgres://u@localhost/d?{pair}")).unwrap();
            assert!(told.contains("other than"), "{pair}: {told}");
        }
        let twice = problem("postgres://u@db.example/d?sslmode=verify-full&sslmode=disable").unwrap();
        assert!(twice.contains("twice"), "{twice}");
        let cases = [
            ("postgres://u@localhost/d?sslmode=verify-full2", "none of"),
            ("postgres://u@localhost/d?sslrootcert=", "no file"),
            ("postgres://u@localhost/d?", ""),
            ("postgres://u@localhost/d?&", "other than"),
            ("postgres://u@localhost:0/d", "port"),
            ("postgres://u@localhost:5432:1/d", "port"),
            ("postgres://u@localhost,db.example/d", "no name"),
            ("postgres://u@db%2Eexample/d", "no name"),
            ("postgres://u@[::1/d", "port"),
            ("postgres://a@b@localhost/d", "two"),
            ("postgres://u@localhost\\@db.example/d", "ASCII"),
            ("postgres://u@localhost#@db.example/d", "ASCII"),
            ("postgres://u@local\thost/d", "ASCII"),
            ("postgres://u@localhost/d?password=x", "password"),
        ];
        for (url, told) in cases {
            let problem = problem(url).unwrap_or_default();
            assert!(problem.contains(told) && problem.is_empty() == told.is_empty(), "{url}: {problem}");
        }
    }

    #[test]
    fn variables_that_would_decide_are_named() {
        assert!(check_environment(|_| false).is_ok());
        assert!(check_environment(|name| name == "PATH").is_ok());
        for name in ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSSLMODE", "PGPASSWORD", "PGUSER"] {
            let (_, problem, _) = check_environment(|set| set == name).unwrap_err().into_parts();
            assert!(problem.contains(&format!("sets {name} and")), "{problem}");
        }
        let (_, problem, _) = check_environment(|set| set.starts_with("PGP")).unwrap_err().into_parts();
        assert!(problem.contains("PGPORT, PGPASSWORD, PGPASSFILE"), "{problem}");
    }
}
