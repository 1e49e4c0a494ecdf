//! Which listener of the server serves what, where administration has one of its own (requirement D7).

use reqwest::Method;

/// The address a request is sent to. What both listeners serve goes to that of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Use of keys.
    Data,
    /// The rest: keys' lives, access, the audit log, the server itself.
    Admin,
}

/// What is done with a key of one's own naming: `POST /v1/keys/{key}/...`.
const USES: [&str; 16] = [
    "agree",
    "decapsulate",
    "decrypt",
    "derive",
    "encapsulate",
    "encrypt",
    "generate-data-key",
    "mac",
    "re-encrypt",
    "rewrap",
    "sign",
    "unwrap",
    "unwrap-data-key",
    "verify",
    "verify-mac",
    "wrap",
];

impl Side {
    /// The side of a path below `/v1`. What is not known here is administration: using keys is the shorter list.
    pub(crate) fn of(method: &Method, segments: &[&str]) -> Self {
        let post = method == Method::POST;
        let get = method == Method::GET;
        match segments {
            ["keys", _, verb] if post && USES.contains(verb) => Self::Data,
            ["decrypt" | "random" | "rewrap" | "unwrap-data-key"] if post => Self::Data,
            ["algorithms"] | ["keys", _] | ["keys", _, "public-key"] if get => Self::Data,
            ["login" | "credentials" | "mfa", ..] | ["tokens", "self", ..] => Self::Data,
            ["system", "status"] | ["grants", "self"] | ["audit", "records", _, "proof"] if get => Self::Data,
            _ => Self::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The description of the interface is made from the server's table of routes, so this is what it serves.
    #[test]
    fn every_route_is_sent_where_it_is_served() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../../../openapi/keyreeve.json")).unwrap();
        let mut seen = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            let Some(path) = path.strip_prefix("/v1/") else { continue };
            let segments: Vec<&str> = path.split('/').collect();
            for (method, route) in methods.as_object().unwrap() {
                let Some((_, listener)) = route["description"].as_str().and_then(|text| text.split_once("Listener: "))
                else {
                    continue;
                };
                let side = Side::of(&method.to_uppercase().parse().unwrap(), &segments);
                let served = match side {
                    Side::Data => listener.starts_with("data"),
                    Side::Admin => listener.starts_with("administration"),
                };
                assert!(served, "{method} {path} is served by {listener}");
                seen += 1;
            }
        }
        assert!(seen >= 60, "{seen} routes");
    }
}
