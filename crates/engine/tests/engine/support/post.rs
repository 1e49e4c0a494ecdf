//! A channel that keeps what it is given, and refuses what it is told to.

use async_trait::async_trait;
use keyreeve_model::{Name, Notice, UnixMillis};
use keyreeve_notify::{Notifier, NotifyError};
use std::collections::VecDeque;
use std::sync::Mutex;

pub(crate) struct Post {
    name: Name,
    taken: Mutex<Vec<Notice>>,
    refusals: Mutex<VecDeque<NotifyError>>,
}

impl Post {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.parse().unwrap(), taken: Mutex::default(), refusals: Mutex::default() }
    }

    /// What it took since it was last asked.
    pub(crate) fn taken(&self) -> Vec<Notice> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    pub(crate) fn refuse_next(&self, error: NotifyError) {
        self.refusals.lock().unwrap().push_back(error);
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
        self.taken.lock().unwrap().push(notice.clone());
        Ok(())
    }
}
