//! Files and small values: encrypted, decrypted, altered, cut short, brought to a new version.

use crate::Desk;

/// Longer than several chunks, and not a multiple of their size.
fn content() -> Vec<u8> {
    (0..2_500_001u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn files_go_there_and_back() {
    let desk = Desk::new();
    desk.key("docs", &[]);
    for (name, bytes) in [("empty", Vec::new()), ("one", vec![7]), ("chunk", vec![1; 65_536]), ("long", content())] {
        desk.write(name, &bytes);
        let _ = desk.cli.ok(&["encrypt", "docs", name]);
        let sealed = desk.read(&format!("{name}.krv"));
        assert!(sealed.len() > bytes.len());
        std::fs::remove_file(desk.path(name)).unwrap();
        let _ = desk.cli.ok(&["decrypt", &format!("{name}.krv")]);
        assert!(desk.read(name) == bytes, "{name} came back altered");
        let mode = std::fs::metadata(desk.path(name)).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o077,
            0,
            "a plaintext others may read"
        );
        let piped = desk.cli.run_with(&["encrypt", "docs", "-", "-o", "-"], &bytes).code(0);
        let back = desk.cli.run_with(&["decrypt", "-", "-o", "-"], &piped.stdout).code(0);
        assert!(back.stdout == bytes, "{name} came back altered through a pipe");
    }
}

#[test]
fn nothing_is_overwritten_by_accident() {
    let desk = Desk::new();
    desk.key("docs", &[]);
    desk.write("a", b"first");
    let _ = desk.cli.ok(&["encrypt", "docs", "a"]);
    let _ = desk.cli.run(&["encrypt", "docs", "a"]).code(2);
    let _ = desk.cli.run(&["decrypt", "a.krv"]).code(2);
    assert_eq!(desk.read("a"), b"first");
    let _ = desk.cli.ok(&["encrypt", "docs", "a", "--force"]);
    let _ = desk.cli.run(&["decrypt", "a.krv", "-o", "no/such/directory"]).code(2);
    let _ = desk.cli.run(&["encrypt", "docs", "none"]).code(2);
    let _ = desk.cli.run(&["encrypt", "docs", "."]).code(2);
    desk.write("plain", b"not encrypted");
    let _ = desk.cli.run(&["decrypt", "plain", "-o", "-"]).code(2);
}

#[test]
fn what_was_altered_or_cut_is_refused_and_leaves_nothing() {
    let desk = Desk::new();
    desk.key("docs", &[]);
    let plaintext = content();
    desk.write("f", &plaintext);
    let _ = desk.cli.ok(&["encrypt", "docs", "f", "--context", "case=7"]);
    let good = desk.read("f.krv");
    std::fs::remove_file(desk.path("f")).unwrap();
    let end = good.len();
    let flipped = |place: usize| {
        let mut bad = good.clone();
        bad[place] ^= 1;
        bad
    };
    let extended = [&good[..], b"x"].concat();
    let cases: Vec<(String, Vec<u8>)> = [30, 60, 100, 200, 300, 1000, end / 2, end - 20, end - 1]
        .map(|place| (format!("flipped at {place}"), flipped(place)))
        .into_iter()
        .chain(
            [10, 100, 400, end / 2, end - 17, end - 1].map(|place| (format!("cut at {place}"), good[..place].to_vec())),
        )
        .chain([("extended".to_owned(), extended)])
        .collect();
    for (what, bad) in cases {
        desk.write("f.krv", &bad);
        let refused = desk.cli.run(&["decrypt", "f.krv"]);
        // A header that is cut before its magic is no file of ours at all; another key id leads to no key.
        assert!(matches!(refused.code, 7 | 2 | 4), "{what}: {refused}");
        assert!(!desk.path("f").exists(), "{what}: something was left behind");
        let left: Vec<_> =
            std::fs::read_dir(desk.home.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")), "{what}: {left:?}");
        let piped = desk.cli.run_with(&["decrypt", "-", "-o", "-"], &bad);
        assert!(piped.code != 0 && plaintext.starts_with(&piped.stdout), "{what}: false bytes were written");
    }
    desk.write("f.krv", &good);
    let _ = desk.cli.run(&["decrypt", "f.krv", "--context", "case=8"]).code(7);
    let _ = desk.cli.ok(&["decrypt", "f.krv", "--context", "case=7"]);
    assert!(desk.read("f") == plaintext);
}

#[test]
fn decrypting_takes_one_request() {
    let desk = Desk::new();
    desk.key("docs", &[]);
    desk.write("f", content());
    let counted = || {
        let metrics = String::from_utf8(desk.dev.endpoint.anonymous().api().get("/metrics").body).unwrap();
        let line = metrics.lines().find(|line| line.starts_with("keyreeve_http_requests_total")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = counted();
    let _ = desk.cli.ok(&["encrypt", "docs", "f"]);
    let between = counted();
    let _ = desk.cli.ok(&["decrypt", "f.krv", "-o", "back"]);
    let after = counted();
    // Each look at the metrics is a request, too.
    assert_eq!((between - before, after - between), (2, 2));
    assert!(desk.read("back") == content());
}

#[test]
fn small_values_are_bound_to_their_context() {
    let desk = Desk::new();
    desk.key("values", &[]);
    let sealed = desk.cli.run_with(&["encrypt", "values", "--small", "--context", "user=42"], b"4711").code(0).text();
    assert!(sealed.starts_with("kr1."));
    let decrypt = |context: &[&str]| desk.cli.run_with(&[&["decrypt"], context].concat(), sealed.as_bytes());
    assert_eq!(decrypt(&["--context", "user=42"]).code(0).text(), "4711");
    let _ = decrypt(&["--context", "user=43"]).code(7);
    let _ = decrypt(&[]).code(7);
    let too_long = vec![0u8; (1 << 20) + 1];
    let _ = desk.cli.run_with(&["encrypt", "values", "--small"], &too_long).code(2);
    let longest = vec![3u8; 1 << 20];
    let sealed = desk.cli.run_with(&["encrypt", "values", "--small"], &longest).code(0);
    assert!(desk.cli.run_with(&["decrypt"], &sealed.stdout).code(0).stdout == longest);
}

#[test]
fn rewrapping_and_moving_keep_the_content() {
    let desk = Desk::new();
    desk.key("old", &[]);
    desk.key("new", &[]);
    desk.write("f", content());
    let _ = desk.cli.ok(&["encrypt", "old", "f"]);
    let small = desk.cli.run_with(&["encrypt", "old", "--small", "--context", "a=b"], b"value").code(0).text();
    let _ = desk.cli.ok(&["key", "rotate", "old", "--reason", "a test"]);
    let before = desk.read("f.krv");
    let _ = desk.cli.ok(&["rewrap", "f.krv"]);
    assert_ne!(desk.read("f.krv"), before);
    let _ = desk.cli.ok(&["decrypt", "f.krv", "-o", "back"]);
    assert!(desk.read("back") == content());
    let moved = desk.cli.run_with(&["rewrap", "--context", "a=b"], small.as_bytes()).code(0).text();
    assert_ne!(moved, small);
    let elsewhere = desk
        .cli
        .run_with(&["reencrypt", "old", "new", "--context", "a=b", "--to-context", "c=d"], moved.as_bytes())
        .code(0);
    assert_eq!(desk.cli.run_with(&["decrypt", "--context", "c=d"], &elsewhere.stdout).code(0).text(), "value");
    let _ = desk.cli.run_with(&["decrypt", "--context", "a=b"], &elsewhere.stdout).code(7);
}
