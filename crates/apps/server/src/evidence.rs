//! What runs: the program's own file and its configuration as digests, for the audit log (requirement T10).

use keyreeve_crypto::digest::{Sha256, sha256};
use keyreeve_engine::ops::anchors::StartFacts;
use std::fs::File;
use std::io::Read;

use crate::config::{Config, OtherBinary};
use crate::error::ServerError;

/// The file of the program that runs in this process, even when another one lies under its name by now.
const PROGRAM: &str = "/proc/self/exe";
/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Looks at the program and the configuration. Blocks for as long as the program's file takes to read.
///
/// # Errors
/// When the configuration wants another program.
pub(crate) fn take(config: &Config) -> Result<StartFacts, ServerError> {
    let binary = program().map_err(|error| ServerError::part("program", format!("{PROGRAM}: {error}")))?;
    let configuration = config.text.as_deref().and_then(configuration);
    let expected = config.start.expected_binary_sha256.clone();
    if let Some(expected) = expected.as_ref().filter(|expected| **expected != binary) {
        let text = format!(
            "this program has the SHA-256 {binary}, and `start.expected_binary_sha256` in the configuration says \
             {expected}: find out who exchanged it, or write the new digest there after an upgrade"
        );
        match config.start.on_other_binary {
            OtherBinary::Refuse => return Err(ServerError::Refused(text)),
            OtherBinary::Tell => tracing::error!("{text}"),
        }
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    tracing::info!(version, binary, configuration, "what runs");
    Ok(StartFacts { version, binary, configuration, expected_binary: expected })
}

fn program() -> std::io::Result<String> {
    let (mut file, mut digest, mut piece) = (File::open(PROGRAM)?, Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&digest.finish())),
            read => digest.update(&piece[..read]),
        }
    }
}

/// The digest of what a configuration says: comments, spaces and the order of fields do not count. It names files with
/// secrets and has none itself.
fn configuration(text: &[u8]) -> Option<String> {
    let table: toml::Table = std::str::from_utf8(text).ok()?.parse().ok()?;
    // The fields of a table come in the order of their names.
    let canonical = serde_json::to_vec(&table).ok()?;
    Some(hex(&sha256(&canonical)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_known_by_what_it_says() {
        let digest = |text: &str| configuration(text.as_bytes()).unwrap();
        let first = digest("# mine\na = 1\n[b]\nc = \"x\"\nd = [1, 2]\n");
        assert_eq!(first, digest("a=1 # comment\n\n[b]\nd = [\n 1,\n 2,\n]\nc   = 'x'\n"));
        for other in ["a = 2\n[b]\nc = \"x\"\nd = [1, 2]\n", "a = 1\n[b]\nc = \"x\"\nd = [2, 1]\n", "a = 1\n"] {
            assert_ne!(first, digest(other), "{other}");
        }
        assert_eq!(configuration(b"a = "), None);
    }

    #[test]
    fn the_program_is_the_one_that_runs() {
        let path = std::env::current_exe().unwrap();
        assert_eq!(program().unwrap(), hex(&sha256(&std::fs::read(path).unwrap())));
    }
}
