//! The transcript on paper.

use keyreeve_ceremony::paper::{DRY_RUN, document, markdown, pdf};
use keyreeve_ceremony::verify::transcript_sha256;

use crate::stage::{SCRIPT, Stage, opened};

#[test]
fn paper_says_what_happened_and_names_the_hash() {
    let stage = Stage::completed();
    let text = markdown::render(&document(&stage.transcript, &stage.bytes));
    for words in ["Alice Bäcker", "Ελένη Φωτίου", "徐伟", "SN-1234", "video.mp4", "signed by AB, CD, EF", "completed"]
    {
        assert!(text.contains(words), "no {words}:\n{text}");
    }
    assert!(text.contains(&transcript_sha256(&stage.bytes)) && !text.contains("DRY RUN"));
}

#[test]
fn the_same_document_is_the_same_pdf() {
    let stage = Stage::completed();
    let paper = document(&stage.transcript, &stage.bytes);
    let one = pdf::render(&paper).unwrap();
    assert!(one.starts_with(b"%PDF-") && one.len() > 5_000);
    assert_eq!(one, pdf::render(&paper).unwrap());
}

#[test]
fn a_rehearsal_says_so_above_every_part() {
    let mut rehearsal = opened(SCRIPT);
    rehearsal.dry_run = true;
    let stage = Stage::begin(rehearsal).unwrap();
    let paper = document(&stage.transcript, &stage.bytes);
    assert_eq!(paper.banner, Some(DRY_RUN));
    let text = markdown::render(&paper);
    let headings = text.matches("\n## ").count();
    assert!(headings >= 3 && text.matches(DRY_RUN).count() == headings + 1, "{text}");
    assert!(pdf::render(&paper).is_ok());
}

#[test]
fn what_people_typed_is_no_markup() {
    let mut other = opened(SCRIPT);
    other.place = "<script>alert(1)</script> | [x](y)".parse().unwrap();
    let stage = Stage::begin(other).unwrap();
    let text = markdown::render(&document(&stage.transcript, &stage.bytes));
    assert!(!text.contains("<script>") && !text.contains("[x](y)"), "{text}");
}
