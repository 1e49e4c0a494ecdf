//! A runbook on paper: from its Markdown to the document that the PDF is made of.

use keyreeve_ceremony::paper::{Block, Document};

/// The document of a filled-in text, as far as Markdown is used in it: headings, lists, paragraphs, commands.
pub(crate) fn document(text: &str, foot: &str) -> Document {
    let (mut title, mut blocks, mut open) = (String::new(), Vec::new(), Open::Nothing);
    for line in text.lines() {
        let bare = line.trim();
        if let Some(heading) = line.strip_prefix("# ") {
            heading.clone_into(&mut title);
        } else if let Some(heading) = line.strip_prefix("## ") {
            open.close(&mut blocks);
            blocks.push(Block::Heading(heading.to_owned()));
        } else if bare.is_empty() {
            open.close(&mut blocks);
        } else if let Some(command) = bare.strip_prefix("keyreeve ").filter(|_| line.starts_with("    ")) {
            open.close(&mut blocks);
            blocks.push(Block::Text(format!("    $ keyreeve {command}")));
        } else if is_point(bare) && !line.starts_with("    ") {
            open.close(&mut blocks);
            open = Open::Point(bare.strip_prefix("- ").unwrap_or(bare).to_owned());
        } else {
            open.more(bare);
        }
    }
    open.close(&mut blocks);
    Document { title, banner: None, foot: foot.to_owned(), blocks: joined(blocks) }
}

/// What further lines belong to.
enum Open {
    Nothing,
    Paragraph(String),
    Point(String),
}

impl Open {
    fn more(&mut self, line: &str) {
        match self {
            Self::Nothing => *self = Self::Paragraph(line.to_owned()),
            Self::Paragraph(text) | Self::Point(text) => {
                text.push(' ');
                text.push_str(line);
            }
        }
    }

    fn close(&mut self, blocks: &mut Vec<Block>) {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => {}
            Self::Paragraph(text) => blocks.push(Block::Text(plain(&text))),
            Self::Point(text) => blocks.push(Block::List(vec![plain(&text)])),
        }
    }
}

/// Points that follow one another are one list.
fn joined(blocks: Vec<Block>) -> Vec<Block> {
    let mut all: Vec<Block> = Vec::new();
    for block in blocks {
        match (all.last_mut(), block) {
            (Some(Block::List(points)), Block::List(more)) => points.extend(more),
            (_, block) => all.push(block),
        }
    }
    all
}

fn is_point(line: &str) -> bool {
    let number = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    number || line.starts_with("- ")
}

/// Without the marks that paper does not need.
fn plain(text: &str) -> String {
    text.replace("**", "").replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_becomes_a_document() {
        let text =
            "# Lost\n\nOne\ntwo.\n\n## Steps\n\n1. Look at\n   `it`:\n\n       keyreeve status\n\n- a\n- **b**\n";
        let document = document(text, "foot");
        let text = |text: &str| Block::Text(text.to_owned());
        assert_eq!((document.title.as_str(), document.foot.as_str()), ("Lost", "foot"));
        assert_eq!(
            document.blocks,
            [
                text("One two."),
                Block::Heading("Steps".to_owned()),
                Block::List(vec!["1. Look at it:".to_owned()]),
                text("    $ keyreeve status"),
                Block::List(vec!["a".to_owned(), "b".to_owned()]),
            ]
        );
    }
}
