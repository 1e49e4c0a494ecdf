//! What docs/access.md teaches can be typed.

use keyreeve_tests::Cli;

const PAPER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md"));

/// The words of a command line, with quotes taken away.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_of_the_paper_exists_with_its_options() {
    let home = tempfile::tempdir().unwrap();
    let cli = Cli::new(home.path());
    // The key of a log, from the specification of signed notes: a file that is named is looked into at once.
    let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n";
    std::fs::write(home.path().join("log.vkey"), vkey).unwrap();
    let lines: Vec<&str> = PAPER.lines().map(str::trim).filter_map(|line| line.strip_prefix("keyreeve ")).collect();
    assert!(lines.len() > 50, "{}", lines.len());
    for line in lines {
        // Help is given once every option before it was understood.
        let words: Vec<String> = words(line).into_iter().chain(["--help".to_owned()]).collect();
        let done = cli.run(&words);
        assert_eq!(done.code, 0, "{done}");
    }
}
