//! Going through who has which right.

use keyreeve_wire::Page;
use keyreeve_wire::reviews::{
    AccessReport, CloseReview, DecideReview, OpenReview, Review, ReviewDecided, ReviewWithItems,
};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// A page of the report on who can do what to which key; last uses that are not known are looked for in the audit
    /// log where `from_audit` says so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn access_report(
        &self,
        (principal, key): (Option<&str>, Option<&str>),
        from_audit: bool,
        (after, limit): (Option<&str>, Option<u32>),
    ) -> Result<Answer<AccessReport>, ClientError> {
        let [after, limit] = super::page(after, limit);
        let from_audit = ("from_audit", from_audit.then(|| "true".to_owned()));
        let (principal, key) = (("principal", principal.map(str::to_owned)), ("key", key.map(str::to_owned)));
        self.get(&["access", "report"], &[principal, key, from_audit, after, limit]).await
    }

    /// Opens a review of who has which right.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_review(&self, new: &OpenReview) -> Result<Answer<Review>, ClientError> {
        self.change(Method::POST, &["reviews"], new).await
    }

    /// A page of the reviews: all, the open ones or the closed ones.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reviews(
        &self,
        open: Option<bool>,
        (after, limit): (Option<&str>, Option<u32>),
    ) -> Result<Answer<Page<Review>>, ClientError> {
        let [after, limit] = super::page(after, limit);
        self.get(&["reviews"], &[("open", open.map(|open| open.to_string())), after, limit]).await
    }

    /// A review with a page of its items: all of them, or those that nobody has decided on yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn review(
        &self,
        id: &str,
        undecided: bool,
        (after, limit): (Option<u32>, Option<u32>),
    ) -> Result<Answer<ReviewWithItems>, ClientError> {
        let after = after.map(|after| after.to_string());
        let [after, limit] = super::page(after.as_deref(), limit);
        let undecided = undecided.then(|| "true".to_owned());
        self.get(&["reviews", id], &[("undecided", undecided), after, limit]).await
    }

    /// Keeps or revokes a right.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decide_review(&self, id: &str, decide: &DecideReview) -> Result<Answer<ReviewDecided>, ClientError> {
        self.change(Method::POST, &["reviews", id, "decisions"], decide).await
    }

    /// Closes a review whose items are all decided.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn close_review(&self, id: &str, close: &CloseReview) -> Result<Answer<Review>, ClientError> {
        self.change(Method::POST, &["reviews", id, "close"], close).await
    }
}
