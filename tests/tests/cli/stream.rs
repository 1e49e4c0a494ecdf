//! Streams of any length in constant memory.

use keyreeve_tests::{long, wait_until};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use crate::Desk;

/// The most memory either end may have resident (KiB).
const MEMORY_KIB: u64 = 64 * 1024;
/// What is written at once.
const PIECE: usize = 1 << 20;

fn piped(desk: &Desk, words: &[&str]) -> (Child, ChildStdin, ChildStdout) {
    let mut command = desk.cli.command(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, stdin, stdout)
}

/// The most it ever had resident, while it still runs.
fn peak_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Piece number `number`: different everywhere, so that a chunk out of place shows.
fn fill(number: u64, piece: &mut [u8]) {
    for (place, word) in (0u64..).zip(piece.chunks_exact_mut(8)) {
        word.copy_from_slice(&(number << 20 | place).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
}

#[test]
fn streams_of_any_length_take_constant_memory() {
    let desk = Desk::new();
    desk.key("backups", &[]);
    let pieces: u64 = if long() { 3 << 10 } else { 256 };
    let (mut sealing, mut plain_in, mut sealed_out) = piped(&desk, &["encrypt", "backups", "-", "-o", "-"]);
    let (mut opening, mut sealed_in, mut plain_out) = piped(&desk, &["decrypt", "-", "-o", "-"]);
    let (sealing_peak, opening_peak) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut piece = vec![0u8; PIECE];
            for number in 0..pieces {
                fill(number, &mut piece);
                plain_in.write_all(&piece).unwrap();
            }
            let peak = peak_kib(&sealing);
            drop(plain_in);
            assert!(sealing.wait().unwrap().success());
            peak
        });
        scope.spawn(move || {
            std::io::copy(&mut sealed_out, &mut sealed_in).unwrap();
        });
        let (mut piece, mut expected) = (vec![0u8; PIECE], vec![0u8; PIECE]);
        let mut opening_peak = 0;
        for number in 0..pieces {
            plain_out.read_exact(&mut piece).unwrap();
            fill(number, &mut expected);
            assert!(piece == expected, "piece {number} came back altered");
            opening_peak = if number + 1 == pieces { opening_peak } else { peak_kib(&opening) };
        }
        assert_eq!(plain_out.read(&mut piece).unwrap(), 0);
        (writer.join().unwrap(), opening_peak)
    });
    assert!(opening.wait().unwrap().success());
    assert!(sealing_peak < MEMORY_KIB && opening_peak < MEMORY_KIB, "{sealing_peak} and {opening_peak} KiB");
}

/// Ctrl-C in the middle leaves no half a file.
#[test]
fn an_interrupted_command_leaves_nothing_behind() {
    let desk = Desk::new();
    desk.key("backups", &[]);
    let (mut child, mut stdin, _stdout) = piped(&desk, &["encrypt", "backups", "-", "-o", "half"]);
    stdin.write_all(&vec![1u8; 4 * PIECE]).unwrap();
    let before: Vec<_> =
        std::fs::read_dir(desk.home.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let ended = wait_until(Duration::from_secs(20), || child.try_wait().unwrap().is_some());
    assert!(ended, "it does not react to Ctrl-C");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left: Vec<_> = std::fs::read_dir(desk.home.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 1, "only the server's directory stays: {left:?}, {before:?} before");
}
