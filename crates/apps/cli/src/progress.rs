//! Progress bars on standard error, for what takes more than a second.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::out::Out;

/// Nothing is drawn for work that is done sooner.
const QUIET_BYTES: u64 = 8 * 1024 * 1024;

/// A bar that shows itself only where somebody watches.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For work on so many bytes, where that is known.
    pub(crate) fn bytes(out: Out, what: &str, total: Option<u64>) -> Self {
        let watched = io::stderr().is_terminal() && !out.quiet;
        if !watched || total.is_some_and(|total| total < QUIET_BYTES) {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")),
            None => ProgressBar::no_length().with_style(style("{msg} {spinner} {bytes}  {bytes_per_sec}  {elapsed}")),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        bar.set_message(what.to_owned());
        Self { bar }
    }

    /// For waiting on the server.
    pub(crate) fn waiting(out: Out, what: &str) -> Self {
        if !io::stderr().is_terminal() || out.quiet {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Says how far it is.
    pub(crate) fn tell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// A reader that moves the bar.
    pub(crate) fn reading<R: Read>(&self, reader: R) -> Reading<R> {
        Reading { reader, progress: self.clone() }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar without its decoration is better than none.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A reader that moves a bar.
pub(crate) struct Reading<R> {
    reader: R,
    progress: Progress,
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.progress.bar.inc(read as u64);
        Ok(read)
    }
}
