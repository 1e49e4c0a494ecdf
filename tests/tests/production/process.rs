//! What others on the same machine can see of the process.

use keyreeve_tests::{Dev, Layout, Production, Server, not_run};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

fn proc(pid: u32, name: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{name}")).unwrap()
}

#[test]
fn there_are_no_core_dumps_and_memory_is_locked_where_it_may_be() {
    let home = tempfile::tempdir().unwrap();
    let dev = Dev::start(home.path());
    let limits = String::from_utf8(proc(dev.server.pid(), "limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    if rustix::process::geteuid().is_root() {
        assert!(dev.server.memory_kib("VmLck") > 0, "memory is not locked");
    }
    dev.server.signal(rustix::process::Signal::ABORT);
    let status = dev.server.wait();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status));
    let left = std::fs::read_dir(home.path()).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("core")));
}

/// The kernel gives the files in `/proc` of a process that cannot be dumped to root, whoever runs it.
#[test]
fn other_processes_of_the_same_user_cannot_look_inside() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        assert_eq!(std::fs::metadata(format!("/proc/{}/environ", dev.server.pid())).unwrap().uid(), 0);
        return;
    }
    // As root everything in /proc belongs to root anyway: the server runs as somebody else.
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let program = home.path().join("keyreeve");
    std::fs::copy(keyreeve_tests::Binary::find().path(), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
    command.args(["dev", "--listen", "127.0.0.1:0"]).current_dir(home.path()).env_clear().env("HOME", home.path());
    if Command::new("setpriv").arg("--version").output().is_err() {
        return not_run("there is no setpriv to run the server as somebody else");
    }
    let dev = Dev::wait(Server::spawn(&mut command), home.path());
    let status = String::from_utf8(proc(dev.server.pid(), "status")).unwrap();
    assert!(status.contains("\nUid:\t65534"), "{status}");
    assert_eq!(std::fs::metadata(format!("/proc/{}/environ", dev.server.pid())).unwrap().uid(), 0);
}

#[test]
fn no_secret_is_in_arguments_or_environment() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let up = production.start_new();
    let pid = up.server.pid();
    let seen = [proc(pid, "cmdline"), proc(pid, "environ")].concat();
    let people = &production.people;
    let secrets = production.shares.iter().chain([&people.operator, &people.keeper, &people.user, &people.auditor]);
    for secret in secrets {
        assert!(!seen.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

/// What `Type=notify` of deploy/keyreeve.service relies on.
#[test]
fn the_service_manager_is_told_when_the_server_is_ready_and_when_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout::default());
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = |word: &str| {
        let mut heard = String::new();
        while !heard.lines().any(|line| line.contains(word)) {
            let mut bytes = [0; 4096];
            let len = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {word} ({error}) after:\n{heard}"));
            heard.push_str(&format!("{}\n", String::from_utf8_lossy(&bytes[..len])));
        }
        heard
    };
    let mut command = production.command();
    let server = Server::spawn(command.env("NOTIFY_SOCKET", &path));
    assert!(hear("READY=1").starts_with("READY=1"));
    let up = production.wait(server);
    let _ = hear("STATUS=not initialised");
    let made = up.endpoint("all").api().post("/v1/system/init", &json!({ "shares": 3, "threshold": 2 })).ok();
    assert!(made["token"].is_string());
    let _ = hear("STATUS=open");
    up.server.signal(rustix::process::Signal::TERM);
    let _ = hear("STOPPING=1");
    assert!(up.server.wait().success());
}

/// Log lines that are not read on a terminal hold no control characters.
#[test]
fn log_files_are_plain_text() {
    let home = tempfile::tempdir().unwrap();
    let mut command = keyreeve_tests::Binary::find().command(home.path());
    command.env_remove("NO_COLOR").args(["dev", "--verbose", "--listen", "127.0.0.1:0"]);
    let mut dev = Dev::wait(Server::spawn(&mut command), home.path());
    dev.server.wait_line(|line| line.contains("keyreeve is up").then_some(()));
    let log = dev.server.log();
    assert!(log.chars().all(|c| c == '\n' || !c.is_control()), "{log:?}");
}
