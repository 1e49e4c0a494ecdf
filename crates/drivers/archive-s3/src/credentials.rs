//! Credentials in a file, in the form of `~/.aws/credentials` (AWS SDKs and Tools Reference Guide, "Shared config and
//! credentials files"): the profile `default`.

use aws_credential_types::Credentials;
use keyreeve_secret::{SecretBytes, SecretString};
use std::path::Path;

/// Longest file (bytes).
const LONGEST: usize = 64 * 1024;

/// Reads the credentials of the profile `default`. The text of an error names the file and nothing of what is in it.
pub(crate) async fn read(path: &Path) -> Result<Credentials, String> {
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let bytes = tokio::fs::read(path).await.map_err(|error| wrong(&error.to_string()))?;
    let bytes = SecretBytes::from_vec(bytes);
    if bytes.len() > LONGEST {
        return Err(wrong("credentials are at most 64 KiB"));
    }
    let text = SecretString::from_utf8(bytes).map_err(|_| wrong("credentials are text"))?;
    parse(text.expose()).ok_or_else(|| {
        wrong("no `aws_access_key_id` and `aws_secret_access_key` below `[default]`, as in ~/.aws/credentials")
    })
}

fn parse(text: &str) -> Option<Credentials> {
    let (mut within, mut id, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            within = section.trim_end_matches(']').trim() == "default";
        } else if let Some((name, value)) = line.split_once('=').filter(|_| within && !line.starts_with(['#', ';'])) {
            let value = Some(value.trim()).filter(|value| !value.is_empty());
            match name.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Credentials::new(id?, secret?, token.map(str::to_owned), None, "file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_default_is_read() {
        let text = "# mine\n[other]\naws_access_key_id = no\n[default]\naws_access_key_id=AK\n; x = y\n\
                    aws_secret_access_key = a+b/c=\naws_session_token = t\n";
        let found = parse(text).unwrap();
        assert_eq!((found.access_key_id(), found.secret_access_key()), ("AK", "a+b/c="));
        assert_eq!(found.session_token(), Some("t"));
        for none in
            ["", "[default]\naws_access_key_id = AK\n", "[other]\naws_access_key_id=A\naws_secret_access_key=B\n"]
        {
            assert!(parse(none).is_none(), "{none}");
        }
    }
}
