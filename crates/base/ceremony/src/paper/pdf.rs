//! A document as PDF, on A4, with its fonts in it. The same document gives the same bytes.

use krilla::Document as Pdf;
use krilla::color::rgb;
use krilla::geom::Point;
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::MetadataProvider;
use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::raw::FontRef;

use super::{Block, Document};

/// A4 in points of 1/72 inch.
const PAGE: (f32, f32) = (595.0, 842.0);
const MARGIN: f32 = 56.0;
const TOP: f32 = 64.0;
const BOTTOM: f32 = 64.0;
/// Where values begin beside their names.
const VALUES: f32 = 130.0;

/// Why no PDF was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the PDF could not be made: {0}")]
pub struct PdfError(String);

/// A font, to measure and to draw with.
struct Face {
    font: Font,
    charmap: Charmap<'static>,
    parsed: FontRef<'static>,
}

impl Face {
    fn of(bytes: &'static [u8]) -> Result<Self, PdfError> {
        let failed = || PdfError("a font that comes with the program cannot be read".to_owned());
        let font = Font::new(bytes.to_vec().into(), 0).ok_or_else(failed)?;
        let parsed = FontRef::new(bytes).map_err(|_| failed())?;
        Ok(Self { font, charmap: parsed.charmap(), parsed })
    }

    /// Width of a character, in parts of the size. What the font does not have is written as its number beforehand.
    fn advance(&self, c: char) -> (GlyphId, f32) {
        let glyph = self.charmap.map(c).unwrap_or_default();
        let metrics = self.parsed.glyph_metrics(Size::new(1.0), LocationRef::default());
        (GlyphId::new(glyph.to_u32()), metrics.advance_width(glyph).unwrap_or(0.5))
    }

    fn has(&self, c: char) -> bool {
        self.charmap.map(c).is_some()
    }

    fn width(&self, text: &str, size: f32) -> f32 {
        text.chars().map(|c| self.advance(c).1 * size).sum()
    }

    /// The same text with numbers for characters that this font does not have: nothing is left out unseen.
    fn spelt(&self, text: &str) -> String {
        text.chars().fold(String::new(), |mut out, c| {
            if self.has(c) {
                out.push(c);
            } else {
                out.push_str(&format!("[U+{:04X}]", u32::from(c)));
            }
            out
        })
    }

    fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        text.char_indices()
            .map(|(at, c)| {
                let (glyph, advance) = self.advance(c);
                KrillaGlyph::new(glyph, advance, 0.0, 0.0, 0.0, at..at + c.len_utf8(), None)
            })
            .collect()
    }
}

#[derive(Clone, Copy)]
enum Look {
    Plain,
    Bold,
    Mono,
}

/// A line in its place on a page.
struct Set {
    look: Look,
    size: f32,
    grey: u8,
    x: f32,
    y: f32,
    text: String,
}

struct Setter {
    plain: Face,
    bold: Face,
    mono: Face,
    pages: Vec<Vec<Set>>,
    y: f32,
}

impl Setter {
    fn face(&self, look: Look) -> &Face {
        match look {
            Look::Plain => &self.plain,
            Look::Bold => &self.bold,
            Look::Mono => &self.mono,
        }
    }

    fn need(&mut self, height: f32) {
        if self.y + height > PAGE.1 - BOTTOM {
            self.pages.push(Vec::new());
            self.y = TOP;
        }
    }

    fn put(&mut self, look: Look, size: f32, grey: u8, x: f32, text: String) {
        let y = self.y + size;
        if let Some(page) = self.pages.last_mut() {
            page.push(Set { look, size, grey, x, y, text });
        }
    }

    /// A paragraph, broken into lines.
    fn paragraph(&mut self, look: Look, size: f32, grey: u8, x: f32, text: &str) {
        let lines = self.broken(look, size, PAGE.0 - MARGIN - x, text);
        for line in lines {
            self.need(size * 1.4);
            self.put(look, size, grey, x, line);
            self.y += size * 1.4;
        }
    }

    /// Lines that fit, broken between words, and within a word that is too long for any line.
    fn broken(&self, look: Look, size: f32, width: f32, text: &str) -> Vec<String> {
        let face = self.face(look);
        let mut lines = Vec::new();
        for paragraph in face_lines(text) {
            let mut line = String::new();
            for word in face.spelt(paragraph).split(' ') {
                let glued = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
                if face.width(&glued, size) <= width {
                    line = glued;
                    continue;
                }
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                for c in word.chars() {
                    if face.width(&line, size) + face.advance(c).1 * size > width {
                        lines.push(std::mem::take(&mut line));
                    }
                    line.push(c);
                }
            }
            lines.push(line);
        }
        lines
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Heading(text) => {
                self.need(60.0);
                self.y += 14.0;
                self.paragraph(Look::Bold, 13.0, 0, MARGIN, text);
                self.y += 3.0;
            }
            Block::Task(text) => {
                self.need(48.0);
                self.y += 7.0;
                self.paragraph(Look::Bold, 9.5, 0, MARGIN, text);
                self.y += 1.0;
            }
            Block::Text(text) => {
                self.paragraph(Look::Plain, 9.5, 0, MARGIN, text);
                self.y += 3.0;
            }
            Block::Facts(facts) => facts.iter().for_each(|(name, value)| self.fact(name, value)),
            Block::List(points) => {
                for point in points {
                    self.need(14.0);
                    self.put(Look::Plain, 9.5, 0, MARGIN, "\u{2022}".to_owned());
                    self.paragraph(Look::Plain, 9.5, 0, MARGIN + 12.0, point);
                }
            }
            Block::Signed(text) => {
                self.paragraph(Look::Plain, 8.0, 90, MARGIN, text);
                self.y += 2.0;
            }
        }
    }

    fn fact(&mut self, name: &str, value: &str) {
        // Hashes and keys are read letter by letter.
        let digits = value.len() >= 32 && !value.contains(' ');
        let (look, size) = if digits { (Look::Mono, 8.5) } else { (Look::Plain, 9.0) };
        self.need(14.0);
        let names = self.broken(Look::Plain, 9.0, VALUES - 8.0, name);
        let (start, pages) = (self.y, self.pages.len());
        for line in &names {
            self.put(Look::Plain, 9.0, 90, MARGIN, line.clone());
            self.y += 12.6;
        }
        let after = self.y;
        self.y = start;
        self.paragraph(look, size, 0, MARGIN + VALUES, value);
        if self.pages.len() == pages {
            self.y = self.y.max(after);
        }
    }
}

fn face_lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_end().split('\n')
}

/// The bytes of a document.
///
/// # Errors
/// [`PdfError`], which would be a defect.
pub fn render(document: &Document) -> Result<Vec<u8>, PdfError> {
    let mut setter = Setter {
        plain: Face::of(dejavu::sans::regular())?,
        bold: Face::of(dejavu::sans::bold())?,
        mono: Face::of(dejavu::sans_mono::regular())?,
        pages: vec![Vec::new()],
        y: TOP,
    };
    setter.paragraph(Look::Bold, 18.0, 0, MARGIN, &document.title);
    setter.y += 6.0;
    document.blocks.iter().for_each(|block| setter.block(block));
    margins(&mut setter, document);
    let mut pdf = Pdf::new();
    pdf.set_metadata(Metadata::new().title(document.title.clone()).creator("keyreeve".to_owned()));
    let settings = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or_else(|| PdfError("no such page".to_owned()))?;
    for page in &setter.pages {
        let mut drawn = pdf.start_page_with(settings.clone());
        let mut surface = drawn.surface();
        for set in page {
            let face = setter.face(set.look);
            let colour = rgb::Color::new(set.grey, set.grey, set.grey);
            surface.set_fill(Some(Fill { paint: colour.into(), opacity: NormalizedF32::ONE, rule: FillRule::NonZero }));
            let (glyphs, at) = (face.glyphs(&set.text), Point::from_xy(set.x, set.y));
            surface.draw_glyphs(at, &glyphs, face.font.clone(), &set.text, set.size, false);
        }
        surface.finish();
        drawn.finish();
    }
    pdf.finish().map_err(|error| PdfError(format!("{error:?}")))
}

/// What stands on every page: at the top that it is a rehearsal, at the foot the hash and the number of the page.
fn margins(setter: &mut Setter, document: &Document) {
    let total = setter.pages.len();
    for (number, page) in setter.pages.iter_mut().enumerate() {
        let foot = format!("{}   page {} of {total}", document.foot, number + 1);
        let y = PAGE.1 - 36.0;
        page.push(Set { look: Look::Plain, size: 7.0, grey: 90, x: MARGIN, y, text: foot });
        if let Some(banner) = document.banner {
            let text = banner.to_owned();
            page.push(Set { look: Look::Bold, size: 11.0, grey: 0, x: MARGIN, y: 40.0, text });
        }
    }
}
