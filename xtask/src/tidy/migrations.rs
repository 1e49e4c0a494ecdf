//! A migration that has been recorded is never changed: data out there was made by it.
//!
//! Each `migrations` folder of a driver has a file `HASHES` with one line per migration, `SHA-256  name`.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Context, Finding, Outcome};
use crate::Result;
use crate::source::Tree;

const HASHES: &str = "HASHES";
const CHANGED: &str = "restore it and write a new migration: databases that ran the old one will not run it again";

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree).into()
}

/// Folder of migrations to the files in it, name and text.
type Folders<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>;

fn folders(tree: &Tree) -> Folders<'_> {
    let mut found = Folders::new();
    for file in &tree.files {
        let Some((folder, name)) = file.path.rsplit_once('/') else { continue };
        if folder.starts_with("crates/drivers/") && folder.ends_with("/migrations") {
            found.entry(folder).or_default().insert(name, &file.text);
        }
    }
    found
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, files) in folders(tree) {
        let recorded = recorded(files.get(HASHES).copied().unwrap_or_default());
        for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".sql")) {
            let path = format!("{folder}/{name}");
            match recorded.get(*name) {
                Some(hash) if *hash == hash_of(text) => {}
                Some(_) => findings.push(Finding::new(&path, None, "a recorded migration was changed", CHANGED)),
                None => {
                    let remedy = "run `cargo xtask tidy --bless` when it is final";
                    findings.push(Finding::new(&path, None, "this migration is not recorded", remedy));
                }
            }
        }
        let gone = recorded.keys().filter(|name| !files.contains_key(name.as_str()));
        findings.extend(
            gone.map(|name| Finding::new(&format!("{folder}/{name}"), None, "a recorded migration is gone", CHANGED)),
        );
    }
    findings
}

fn recorded(hashes: &str) -> BTreeMap<String, String> {
    let pairs = hashes.lines().filter_map(|line| line.split_once("  "));
    pairs.map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
}

fn hash_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds the hashes of new migrations; what is recorded stays as it is.
pub(super) fn bless(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    for (folder, files) in folders(&tree) {
        let before = files.get(HASHES).copied().unwrap_or_default();
        let added = additions(before, &files);
        if !added.is_empty() {
            let mut text = before.to_owned();
            text.extend(added);
            std::fs::write(root.join(folder).join(HASHES), text)?;
        }
    }
    Ok(())
}

fn additions(before: &str, files: &BTreeMap<&str, &str>) -> Vec<String> {
    let recorded = recorded(before);
    let new = files.iter().filter(|(name, _)| name.ends_with(".sql") && !recorded.contains_key(**name));
    new.map(|(name, text)| format!("{}  {name}\n", hash_of(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "crates/drivers/store-x/migrations";

    fn findings(hashes: &str, files: &[(&str, &str)]) -> Vec<String> {
        let listed =
            files.iter().copied().chain([(HASHES, hashes)]).map(|(name, text)| (format!("{FOLDER}/{name}"), text));
        check(&Tree::of(listed)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_recorded_may_not_change_or_vanish() {
        let hashes = format!("{}  0001.sql\n", hash_of("CREATE"));
        assert!(findings(&hashes, &[("0001.sql", "CREATE")]).is_empty());
        assert!(findings(&hashes, &[("0001.sql", "DROP")])[0].contains("was changed"));
        assert!(findings(&hashes, &[])[0].contains("is gone"));
        assert!(findings("", &[("0001.sql", "CREATE")])[0].contains("not recorded"));
    }

    #[test]
    fn blessing_only_adds() {
        let before = "0000  0001.sql\n";
        let files = BTreeMap::from([("0001.sql", "changed"), ("0002.sql", "new")]);
        assert_eq!(additions(before, &files), [format!("{}  0002.sql\n", hash_of("new"))]);
    }
}
