//! The text of a runbook: Markdown with places to be filled in, such as `{{holders}}`. A place that nobody knows is an
//! error, not an empty line in the middle of the night.

use std::fmt;
use std::str::FromStr;

use super::Shipped;

/// What stands before the signs by which one knows the trouble.
const SIGNS: &str = "Signs: ";

macro_rules! places {
    ($($(#[$doc:meta])* $place:ident = $name:literal,)*) => {
        /// A place in a text that is filled in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Place {
            $($(#[$doc])* $place,)*
        }

        impl FromStr for Place {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($name => Ok(Self::$place),)*
                    _ => Err(()),
                }
            }
        }
    };
}

places! {
    /// The server, and how it stands.
    Server = "server",
    /// The roots of trust.
    Roots = "roots",
    /// Who holds shares of them.
    Holders = "holders",
    /// Where backups are.
    Destinations = "destinations",
    /// Where everything is on the server's machine.
    Paths = "paths",
    /// Who may do what.
    People = "people",
    /// How people are told.
    Channels = "channels",
    /// When each runbook was last rehearsed.
    Drills = "drills",
    /// The newest backup, in a sentence.
    Newest = "newest",
    /// The configuration file, in a sentence.
    Config = "config",
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(&'static str),
    Place(Place),
}

/// A runbook that was read.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) pieces: Vec<Piece>,
}

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadBook {
    name: &'static str,
    what: String,
}

impl fmt::Display for BadBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the runbook `{}`: {}", self.name, self.what)
    }
}

impl Book {
    /// Reads a text.
    pub(crate) fn read(shipped: Shipped) -> Result<Self, BadBook> {
        let bad = |what: String| BadBook { name: shipped.name, what };
        let first = shipped.text.lines().next().and_then(|line| line.strip_prefix("# "));
        let title = first.ok_or_else(|| bad("it does not begin with a title".to_owned()))?;
        if !shipped.text.lines().any(|line| line.starts_with(SIGNS)) {
            return Err(bad(format!("it has no line that begins with `{SIGNS}`")));
        }
        let (mut pieces, mut rest) = (Vec::new(), shipped.text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or_else(|| bad("a place does not end".to_owned()))?;
            let place = name.parse().map_err(|()| bad(format!("there is no place `{name}`")))?;
            pieces.push(Piece::Text(before));
            pieces.push(Piece::Place(place));
            rest = behind;
        }
        if rest.contains("}}") {
            return Err(bad("`}}` without a beginning".to_owned()));
        }
        pieces.push(Piece::Text(rest));
        Ok(Self { name: shipped.name, title, pieces })
    }

    /// The text with everything filled in.
    pub(crate) fn filled(&self, fill: impl Fn(Place) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => (*text).to_owned(),
            Piece::Place(place) => fill(*place),
        };
        self.pieces.iter().map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::RUNBOOKS;
    use keyreeve_model::drill::DrillKind;

    const START: &str = "# T\n\nSigns: none\n";

    fn read(text: &'static str) -> Result<Book, BadBook> {
        Book::read(Shipped { name: "test", text })
    }

    #[test]
    fn every_runbook_is_read_and_every_drill_has_one() {
        for shipped in RUNBOOKS {
            let book = Book::read(*shipped).unwrap_or_else(|error| panic!("{error}"));
            assert!(!book.title.is_empty() && !book.filled(|_| "x".to_owned()).contains("{{"));
        }
        for kind in DrillKind::ALL {
            assert!(RUNBOOKS.iter().any(|book| book.name == kind.name()), "{kind}");
        }
    }

    #[test]
    fn places_are_filled_in_and_what_is_none_is_refused() {
        let book = read("# T\n\nSigns: none\n\n{{roots}}\n\nnow {{newest}}.").unwrap();
        let text = book.filled(|place| format!("<{place:?}>"));
        assert!(text.ends_with("<Roots>\n\nnow <Newest>."), "{text}");
        for (text, what) in [
            ("no title", "title"),
            ("# T\n\nno signs", "Signs"),
            ("# T\n\nSigns: x {{nothing}}", "no place `nothing`"),
            ("# T\n\nSigns: x {{roots", "does not end"),
            ("# T\n\nSigns: x roots}}", "without a beginning"),
            ("# T\n\nSigns: x {{ roots }}", "no place"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(what), "{text}");
        }
        assert_eq!(read(START).unwrap().title, "T");
    }
}
