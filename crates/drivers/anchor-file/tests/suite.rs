//! The contract of anchors, by a file; and what a file may meet besides.
#![allow(clippy::unwrap_used)]

use keyreeve_anchor_file::FileAnchor;
use keyreeve_root::anchor_suite::{self, MemoryAnchor};
use keyreeve_root::{Anchor, AnchorError};
use std::sync::Arc;

#[tokio::test]
async fn a_file_passes_the_suite() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("anchor");
    // One process has one: two handles would not see each other.
    let anchor = Arc::new(FileAnchor::new(&path));
    anchor_suite::run(|| Arc::clone(&anchor) as Arc<dyn Anchor>).await;
    let again = FileAnchor::new(&path).read().await.unwrap();
    assert_eq!(again, anchor.read().await.unwrap(), "another process finds the same");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else lies beside it");
}

#[tokio::test]
async fn what_tests_use_in_its_place_passes_the_suite() {
    for anchor in [MemoryAnchor::keeping(), MemoryAnchor::counting(7)] {
        anchor_suite::run(|| Arc::new(anchor.clone())).await;
    }
}

#[tokio::test]
async fn a_disk_that_is_not_there_is_no_anchor_that_never_counted() {
    let home = tempfile::tempdir().unwrap();
    let anchor = FileAnchor::new(home.path().join("not-mounted").join("anchor"));
    assert!(matches!(anchor.read().await, Err(AnchorError::Unavailable(_))));
    assert!(matches!(anchor.advance(None, b"x").await, Err(AnchorError::Unavailable(_))));
    assert!(!home.path().join("not-mounted").exists());
}

#[tokio::test]
async fn a_file_of_something_else_is_neither_read_nor_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("anchor");
    for content in ["", "keyreeve-anchor 1", "keyreeve-anchor 1 07\nx", "keyreeve-anchor 2 7\n", "a letter\n"] {
        std::fs::write(&path, content).unwrap();
        let anchor = FileAnchor::new(&path);
        assert!(matches!(anchor.read().await, Err(AnchorError::Damaged(_))), "{content}");
        assert!(matches!(anchor.advance(None, b"x").await, Err(AnchorError::Damaged(_))), "{content}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    std::fs::write(&path, [b"keyreeve-anchor 1 7\n".as_slice(), &vec![b'x'; 40_000]].concat()).unwrap();
    assert!(matches!(FileAnchor::new(&path).read().await, Err(AnchorError::Damaged(_))), "too long");
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_written_over() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("anchor");
    let anchor = FileAnchor::new(&path);
    assert_eq!(anchor.advance(None, b"one").await, Ok(1));
    std::fs::write(home.path().join(".writing-anchor"), "keyreeve-anchor 1 2\nha").unwrap();
    assert_eq!(FileAnchor::new(&path).read().await.unwrap().count, Some(1));
    assert_eq!(FileAnchor::new(&path).advance(Some(1), b"two").await, Ok(2));
}
