//! A document as Markdown.

use std::fmt::Write;

use super::{Block, Document};

/// The text of a document.
#[must_use]
pub fn render(document: &Document) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |what: &str| {
        let _ = writeln!(text, "{what}");
    };
    let banner = document.banner.map(|banner| format!("> **{banner}**\n"));
    if let Some(banner) = &banner {
        line(banner);
    }
    line(&format!("# {}\n", escaped(&document.title)));
    for block in &document.blocks {
        match block {
            Block::Heading(heading) => {
                line(&format!("\n## {}\n", escaped(heading)));
                if let Some(banner) = &banner {
                    line(banner);
                }
            }
            Block::Task(task) => line(&format!("\n### {}\n", escaped(task))),
            Block::Text(paragraph) => line(&format!("{}\n", escaped(paragraph))),
            Block::Facts(facts) => {
                line("| | |\n|---|---|");
                for (name, value) in facts {
                    line(&format!("| {} | {} |", cell(name), cell(value)));
                }
                line("");
            }
            Block::List(points) => {
                points.iter().for_each(|point| line(&format!("- {}", escaped(point))));
                line("");
            }
            Block::Signed(signed) => line(&format!("*{}*\n", escaped(signed))),
        }
    }
    line(&format!("\n---\n{}", escaped(&document.foot)));
    text
}

/// What somebody typed is text and no markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '!') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn cell(text: &str) -> String {
    escaped(text).replace('\n', "<br>")
}
