//! What every command is given: where to print, how to reach the server.

use clap::Args;
use keyreeve_client::Client;
use keyreeve_wire::Page;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::out::{Out, printable};
use crate::profile::{Connection, Profile};

/// The surroundings of a command.
pub(crate) struct App {
    pub(crate) out: Out,
    pub(crate) connection: Connection,
}

/// How a command ends when it ends well: with an answer that is yes or no.
pub(crate) type Outcome = Result<Exit, Failure>;

impl App {
    pub(crate) fn profile(&self) -> Result<Profile, Failure> {
        Profile::load(&self.connection)
    }

    /// A client in the caller's name.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.profile()?.client()
    }

    /// Shows a value and ends well.
    pub(crate) fn show<T: Serialize + ?Sized>(&self, value: &T, table: impl FnOnce(&T) -> String) -> Outcome {
        self.out.show(value, table)?;
        Ok(Exit::Done)
    }

    /// Shows what was made; where only results are wanted its id alone, for scripts.
    pub(crate) fn show_made<T: Serialize + ?Sized>(
        &self,
        value: &T,
        id: &str,
        table: impl FnOnce(&T) -> String,
    ) -> Outcome {
        if self.out.quiet && !self.out.is_json() {
            self.out.line(&printable(id))?;
            return Ok(Exit::Done);
        }
        self.show(value, table)
    }

    /// Tells where an operation stands in the audit log.
    pub(crate) fn note_record(&self, what: &str, record: Option<&String>) {
        match record {
            Some(record) => self.out.note(&format!("{what} (audit record {record})")),
            None => self.out.note(what),
        }
    }
}

/// Runs work that does not wait for the network, and would hold up what does.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Failure::new(Exit::Internal, "a part of the program failed"))?
}

/// The most rows the server puts on a page.
const PAGE_MAX: u32 = 1000;

/// How much of a listing to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct Listing {
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Show all, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on from here: what the end of the former listing said
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
}

impl Listing {
    /// Fetches page after page until there is enough.
    pub(crate) async fn collect<T>(
        &self,
        mut fetch: impl AsyncFnMut(Option<String>, u32) -> Result<Page<T>, Failure>,
    ) -> Result<Page<T>, Failure> {
        let mut collected = Page { items: Vec::new(), next: self.after.clone() };
        loop {
            let missing = self.limit.saturating_sub(u32::try_from(collected.items.len()).unwrap_or(u32::MAX));
            let wanted = if self.all { PAGE_MAX } else { missing.min(PAGE_MAX) };
            let page = fetch(collected.next.take(), wanted).await?;
            collected.items.extend(page.items);
            collected.next = page.next;
            let enough = !self.all && collected.items.len() >= self.limit as usize;
            if enough || collected.next.is_none() {
                return Ok(collected);
            }
        }
    }

    /// Shows a listing, and how to see the rest of it.
    pub(crate) fn show<T: Serialize>(app: &App, page: &Page<T>, table: impl FnOnce(&[T]) -> String) -> Outcome {
        app.out.show(page, |page| table(&page.items))?;
        if let (Some(next), false) = (&page.next, app.out.is_json()) {
            app.out.note(&format!("there is more: `--after {next}`, or `--all`"));
        }
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(listing: Listing, total: u32) -> (Page<u32>, Vec<u32>) {
        let mut asked = Vec::new();
        let page = listing
            .collect(async |after: Option<String>, limit: u32| {
                asked.push(limit);
                let from = after.map_or(0, |after| after.parse::<u32>().unwrap());
                // The server may give less than it was asked for.
                let to = (from + limit.min(70)).min(total);
                let next = (to < total).then(|| to.to_string());
                Ok(Page { items: (from..to).collect(), next })
            })
            .await;
        (page.unwrap(), asked)
    }

    #[tokio::test]
    async fn pages_are_joined_up_to_the_limit() {
        let (page, asked) = collect(Listing { limit: 100, all: false, after: None }, 300).await;
        assert_eq!((page.items.len(), page.next.as_deref()), (100, Some("100")));
        assert_eq!(asked, [100, 30]);
    }

    #[tokio::test]
    async fn all_means_all() {
        let (page, _) = collect(Listing { limit: 100, all: true, after: Some("10".into()) }, 300).await;
        assert_eq!((page.items.first(), page.items.len(), page.next), (Some(&10), 290, None));
    }
}
