//! The house has floors, and dependencies only go downwards.
//!
//! The table is the whole rule: a member without a row fails, so that a new room is placed on purpose.

use super::{Context, Finding, Outcome, matches_folder};
use crate::workspace::{Dependency, Graph, Member};

const REMEDY: &str =
    "move the code to a lower floor or turn the dependency round; the table is in xtask/src/tidy/layers.rs";

const SECRET: &str = "crates/base/secret";
const CRYPTO: &str = "crates/base/crypto";
const MODEL: &str = "crates/base/model";
const CEREMONY: &str = "crates/base/ceremony";
const ENVELOPE: &str = "crates/base/envelope";
const BASE: &str = "crates/base/*";
const PORTS: &str = "crates/ports/*";
const ENGINE: &str = "crates/engine";
const DRIVERS: &str = "crates/drivers/*";
const HTTP: &str = "crates/protocols/http";
const WIRE: &str = "crates/protocols/wire";
const PROTOCOLS: &str = "crates/protocols/*";

struct Room {
    folder: &'static str,
    may_use: &'static [&'static str],
}

const TABLE: &[Room] = &[
    Room { folder: SECRET, may_use: &[] },
    Room { folder: CRYPTO, may_use: &[SECRET] },
    Room { folder: MODEL, may_use: &[SECRET, CRYPTO] },
    Room { folder: "crates/base/audit", may_use: &[SECRET, CRYPTO, MODEL] },
    Room { folder: ENVELOPE, may_use: &[SECRET, CRYPTO] },
    // What stands in backups, which are encrypted as envelope files and signed as the audit log is.
    Room { folder: "crates/base/backup", may_use: &[SECRET, CRYPTO, MODEL, "crates/base/audit", ENVELOPE] },
    Room { folder: "crates/base/identity", may_use: &[SECRET, CRYPTO, MODEL] },
    Room { folder: CEREMONY, may_use: &[SECRET, CRYPTO, MODEL] },
    // The policy decision stands alone: it sees names and attributes, never keys.
    Room { folder: "crates/base/policy", may_use: &[] },
    Room { folder: PORTS, may_use: &[BASE] },
    Room { folder: ENGINE, may_use: &[BASE, PORTS] },
    // Drivers do not know the engine that uses them, nor one another.
    Room { folder: DRIVERS, may_use: &[BASE, PORTS] },
    Room { folder: HTTP, may_use: &[BASE, ENGINE] },
    // The wire types are shared with the client, which must not drag the engine along.
    Room { folder: WIRE, may_use: &[SECRET] },
    Room { folder: "crates/protocols/rest", may_use: &[BASE, ENGINE, HTTP, WIRE] },
    Room { folder: "crates/protocols/console", may_use: &[BASE, ENGINE, HTTP, WIRE] },
    // Every other protocol brings its own wire types; what HTTP has in common it takes from there.
    Room { folder: PROTOCOLS, may_use: &[BASE, ENGINE, HTTP] },
    Room { folder: "crates/apps/client", may_use: &[WIRE, ENVELOPE, SECRET, CRYPTO] },
    Room { folder: "crates/apps/server", may_use: &[BASE, PORTS, ENGINE, DRIVERS, PROTOCOLS] },
    Room {
        folder: "crates/apps/cli",
        may_use: &[
            "crates/apps/server",
            "crates/apps/client",
            WIRE,
            ENVELOPE,
            "crates/base/audit",
            CEREMONY,
            MODEL,
            CRYPTO,
            SECRET,
        ],
    },
    // Outside of the house: they may look at everything. Nobody may look at them; only tests of drivers start the
    // counterparts that live in `tests`, as a development dependency.
    Room { folder: "tests", may_use: &["crates/*"] },
    // Fuzz targets build quickly: what they reach is the base floor, the wire types, and the one driver that speaks a
    // form of its own with another process.
    Room { folder: "fuzz", may_use: &[BASE, WIRE, "crates/drivers/root-pkcs11"] },
    Room { folder: "bench", may_use: &[CRYPTO, SECRET] },
    Room { folder: "xtask", may_use: &["crates/*"] },
];

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.graph).into()
}

fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &graph.members {
        let manifest = format!("{}/Cargo.toml", member.folder);
        let Some(room) = TABLE.iter().find(|room| matches_folder(room.folder, &member.folder)) else {
            let remedy = "give it a row in xtask/src/tidy/layers.rs that says what it may use";
            findings.push(Finding::new(&manifest, None, "this member has no place on any floor", remedy));
            continue;
        };
        for dependency in &member.dependencies {
            if let Some(message) = broken(room, member, dependency) {
                findings.push(Finding::new(&manifest, None, message, REMEDY));
            }
        }
        findings.extend(two_ports(member, &manifest));
    }
    findings
}

fn broken(room: &Room, member: &Member, dependency: &Dependency) -> Option<String> {
    let target = dependency.folder.as_deref()?;
    let driver_to_driver = matches_folder(DRIVERS, &member.folder) && matches_folder(DRIVERS, target);
    if dependency.development && !driver_to_driver {
        return None;
    }
    let allowed = room.may_use.iter().any(|pattern| matches_folder(pattern, target));
    (!allowed).then(|| format!("{} may not depend on {target}", member.folder))
}

/// A driver serves one port.
fn two_ports(member: &Member, manifest: &str) -> Option<Finding> {
    if !matches_folder(DRIVERS, &member.folder) {
        return None;
    }
    let used = member.dependencies.iter().filter(|dependency| !dependency.development);
    let ports =
        used.filter_map(|dependency| dependency.folder.as_deref()).filter(|folder| matches_folder(PORTS, folder));
    let ports: Vec<&str> = ports.collect();
    let message = format!("a driver serves one port, this one depends on {}", ports.join(" and "));
    (ports.len() > 1).then(|| Finding::new(manifest, None, message, "split the driver, one crate per port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(folder: &str, targets: &[(&str, bool)]) -> Graph {
        let dependencies = targets.iter().map(|(target, development)| Dependency {
            name: target.replace('/', "-"),
            development: *development,
            folder: Some((*target).to_owned()),
        });
        let member = Member { folder: folder.to_owned(), dependencies: dependencies.collect(), ..Member::default() };
        Graph { members: vec![member], packages: Vec::new() }
    }

    fn complaints(folder: &str, targets: &[(&str, bool)]) -> usize {
        check(&graph(folder, targets)).len()
    }

    #[test]
    fn downwards_is_allowed() {
        assert_eq!(complaints(ENGINE, &[("crates/base/audit", false), ("crates/ports/store", false)]), 0);
        assert_eq!(complaints("crates/apps/server", &[("crates/drivers/store-sqlite", false)]), 0);
    }

    #[test]
    fn upwards_and_sideways_are_refused() {
        assert_eq!(complaints(CRYPTO, &[(MODEL, false)]), 1);
        assert_eq!(complaints("crates/base/policy", &[(SECRET, false)]), 1);
        assert_eq!(complaints(WIRE, &[(ENGINE, false)]), 1);
        assert_eq!(complaints("crates/apps/client", &[(ENGINE, false)]), 1);
        assert_eq!(complaints("crates/drivers/journal-file", &[(ENGINE, false)]), 1);
        assert_eq!(complaints(ENGINE, &[("xtask", false)]), 1);
    }

    #[test]
    fn tests_may_look_up_but_drivers_never_at_one_another() {
        assert_eq!(complaints(MODEL, &[(ENGINE, true)]), 0);
        assert_eq!(complaints("crates/drivers/store-sqlite", &[("crates/drivers/store-postgres", true)]), 1);
    }

    #[test]
    fn a_driver_serves_one_port_and_every_member_has_a_place() {
        let two = [("crates/ports/store", false), ("crates/ports/journal", false)];
        assert_eq!(complaints("crates/drivers/store-sqlite", &two), 1);
        assert_eq!(complaints("crates/attic/new", &[]), 1);
    }

    #[test]
    fn a_new_protocol_stands_beside_the_others_and_uses_none_of_them() {
        let vault = "crates/protocols/vault";
        assert_eq!(complaints(vault, &[(ENGINE, false), (HTTP, false), (MODEL, false)]), 0);
        for other in ["crates/protocols/rest", WIRE, "crates/ports/store", "crates/drivers/store-sqlite"] {
            assert_eq!(complaints(vault, &[(other, false)]), 1, "{other}");
        }
    }
}
