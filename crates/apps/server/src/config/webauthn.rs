//! `[webauthn]`: under which name authenticators are registered, and on which pages they are used.

use serde::Deserialize;
use std::net::SocketAddr;

use super::Fault;

/// The longest domain (RFC 1035, 2.3.4), in bytes.
const DOMAIN_MAX: usize = 253;

/// The relying party of W3C WebAuthn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebAuthnConfig {
    /// Its id: the domain under which people reach the console. Authenticators are bound to it for ever. Without it
    /// there are none.
    pub id: Option<String>,
    /// The origins of the console's pages, such as `https://kms.example.com:7434`; those of the listeners under the
    /// domain where nothing else is said.
    pub origins: Vec<String>,
}

impl WebAuthnConfig {
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let Some(id) = &self.id else {
            if self.origins.is_empty() {
                return Ok(());
            }
            return Err(Fault::new(
                "webauthn.origins",
                "there is no `webauthn.id`",
                "give the domain as `webauthn.id`",
            ));
        };
        if !is_domain(id) {
            let problem = "it must be a domain in small letters, without scheme or port, and no address";
            return Err(Fault::new("webauthn.id", problem, "write for instance `kms.example.com`"));
        }
        match self.origins.iter().find(|origin| !is_under(origin, id)) {
            None => Ok(()),
            Some(origin) => {
                let problem = format!("`{origin}` is no page under `{id}`");
                let remedy = format!("write it as browsers do: `https://{id}`, with the port unless that is 443");
                Err(Fault::new("webauthn.origins", problem, remedy))
            }
        }
    }

    /// The origins, where none are configured from the ports of the listeners that serve the console.
    pub(crate) fn origins(&self, id: &str, addresses: &[(&'static str, SocketAddr)]) -> Vec<String> {
        if !self.origins.is_empty() {
            return self.origins.clone();
        }
        let serving = addresses.iter().filter(|(name, _)| matches!(*name, "all" | "admin"));
        let origin = |port| if port == 443 { format!("https://{id}") } else { format!("https://{id}:{port}") };
        serving.map(|(_, address)| origin(address.port())).collect()
    }
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= DOMAIN_MAX && !numeric && text.split('.').all(label)
}

/// Whether an origin is one of the domain's or of one below it, in the only form that browsers write.
fn is_under(origin: &str, id: &str) -> bool {
    let Some(rest) = origin.strip_prefix("https://") else { return false };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n != 443 && n.to_string() == port));
    let under = host == id || host.strip_suffix(id).is_some_and(|before| before.ends_with('.') && before.len() > 1);
    port_fits && under && is_domain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(id: Option<&str>, origins: &[&str]) -> bool {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        WebAuthnConfig { id: id.map(str::to_owned), origins }.check().is_ok()
    }

    #[test]
    fn a_relying_party_is_a_domain_with_pages_of_its_own() {
        assert!(checked(None, &[]));
        assert!(checked(Some("kms.example.com"), &[]));
        assert!(checked(Some("localhost"), &["https://localhost:7433"]));
        assert!(checked(Some("example.com"), &["https://example.com", "https://kms.example.com:7434"]));
        for id in ["", "https://a.example", "10.0.0.1", "A.example", "a..b", "-a.example", "a.example:443", "::1"] {
            assert!(!checked(Some(id), &[]), "{id}");
        }
        for origin in [
            "https://example.org",
            "http://example.com",
            "https://example.com/",
            "https://example.com:443",
            "https://example.com:07434",
            "https://notexample.com",
            "https://.example.com",
        ] {
            assert!(!checked(Some("example.com"), &[origin]), "{origin}");
        }
        assert!(!checked(None, &["https://example.com"]));
    }

    #[test]
    fn the_origins_are_those_of_the_listeners_with_a_console() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = [("data", address(1)), ("admin", address(7434)), ("metrics", address(3))];
        let config = WebAuthnConfig::default();
        assert_eq!(config.origins("a.example", &addresses), ["https://a.example:7434"]);
        assert_eq!(config.origins("a.example", &[("all", address(443))]), ["https://a.example"]);
    }
}
