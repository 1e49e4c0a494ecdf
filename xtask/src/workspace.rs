//! The workspace as cargo and git see it: members, their dependencies, the whole graph, the files.

use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::{Result, cargo};

/// The folder of the workspace this program was built from.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Members and packages, reduced to what the checks look at, so that a test can write one down.
#[derive(Debug, Default, Clone)]
pub(crate) struct Graph {
    pub(crate) members: Vec<Member>,
    /// Every package that is built for this machine, our own included.
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Member {
    /// Relative to the workspace root, with forward slashes.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Names of the integration test targets.
    pub(crate) tests: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) development: bool,
    /// The folder of the member it points to, `None` for other people's crates.
    pub(crate) folder: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
}

impl Graph {
    /// Asks cargo. Only this machine's platform is resolved: a fresh clone need not download crates for others.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut command = MetadataCommand::new();
        command.manifest_path(root.join("Cargo.toml")).current_dir(root).no_deps();
        let metadata = command.exec().map_err(|error| format!("cargo metadata: {error}"))?;
        Ok(Self { members: members(&metadata, root), packages: packages(root)? })
    }

    pub(crate) fn test_targets(&self) -> Vec<&str> {
        self.members.iter().flat_map(|member| member.tests.iter().map(String::as_str)).collect()
    }
}

fn members(metadata: &Metadata, root: &Path) -> Vec<Member> {
    let packages = metadata.workspace_packages();
    let found = packages.iter().map(|package| Member {
        folder: relative(root, package.manifest_path.as_std_path().parent().unwrap_or(root)),
        dependencies: package
            .dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency.name.clone(),
                development: dependency.kind == DependencyKind::Development,
                folder: dependency.path.as_ref().map(|path| relative(root, path.as_std_path())),
            })
            .collect(),
        tests: package.targets.iter().filter(|target| target.is_test()).map(|target| target.name.clone()).collect(),
    });
    found.collect()
}

/// From `cargo tree`: `cargo metadata` lists also what only features nobody switched on would bring.
fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut tree = cargo::cargo(root);
    tree.args(["tree", "--workspace", "--quiet", "--prefix", "none", "--edges", "normal,build,dev"]);
    tree.args(["--target", &cargo::host_triple()?, "--format", "{p}\t{l}"]);
    let listed = cargo::output_of(&mut tree).ok_or("`cargo tree --workspace` failed; run it to see why")?;
    let mut found: Vec<Package> = listed.lines().filter_map(package).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// `name v1.2.3 (path)<TAB>licence`, possibly followed by ` (*)` for what was listed before.
fn package(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
    let licence = licence.trim_end_matches("(*)").trim();
    let license = (!licence.is_empty()).then(|| licence.to_owned());
    Some(Package { name: name.to_owned(), version: version.to_owned(), license })
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// The files git tracks or would track, relative to the root; without git, what lies outside build folders.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut found = match cargo::output_of(&mut git) {
        Some(listed) => listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
        None => walk(root)?,
    };
    found.retain(|path| root.join(path).is_file());
    found.sort();
    found.dedup();
    Ok(found)
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut waiting = vec![root.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(&*name, "target" | ".git") {
                waiting.push(path);
            } else if path.is_file() {
                found.push(relative(root, &path));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_the_tree() {
        let read = |line: &str| package(line).map(|found| (found.name, found.version, found.license));
        let expected = |licence: Option<&str>| Some(("a".to_owned(), "1.2.0".to_owned(), licence.map(str::to_owned)));
        assert_eq!(read("a v1.2.0 (proc-macro)\tMIT OR Apache-2.0 (*)"), expected(Some("MIT OR Apache-2.0")));
        assert_eq!(read("a v1.2.0\t"), expected(None));
        assert_eq!(read(""), None);
    }
}
