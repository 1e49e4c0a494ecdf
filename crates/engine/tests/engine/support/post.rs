//! A channel that keeps what it is given, and refuses what it is told to.

use async_trait::async_trait;
use keyreeve_model::{Name, Notice, NoticeKind, UnixMillis};
use keyreeve_notify::{Notifier, NotifyError};
use std::collections::VecDeque;
use std::sync::Mutex;

pub(crate) struct Post {
    name: Name,
    taken: Mutex<Vec<Notice>>,
    refusals: Mutex<VecDeque<NotifyError>>,
    never: Mutex<Option<NoticeKind>>,
}

impl Post {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.parse().unwrap(),
            taken: Mutex::default(),
            refusals: Mutex::default(),
            never: Mutex::default(),
        }
    }

    /// What it took since it was last asked.
    pub(crate) fn taken(&self) -> Vec<Notice> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    pub(crate) fn refuse_next(&self, error: NotifyError) {
        self.refusals.lock().unwrap().push_back(error);
    }

    /// From now on it takes no notices of a kind.
    pub(crate) fn refuse_always(&self, kind: NoticeKind) {
        *self.never.lock().unwrap() = Some(kind);
    }
}

#[async_trait]
impl Notifier for Post {
    fn channel(&self) -> &Name {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "post"
    }

    fn destination(&self) -> String {
        "a test".to_owned()
    }

    async fn send(&self, notice: &Notice, _now: UnixMillis) -> Result<(), NotifyError> {
        if let Some(error) = self.refusals.lock().unwrap().pop_front() {
            return Err(error);
        }
        if *self.never.lock().unwrap() == Some(notice.kind) {
            return Err(NotifyError::TryAgain("not this one".to_owned()));
        }
        self.taken.lock().unwrap().push(notice.clone());
        Ok(())
    }
}
