//! What the service manager is told (sd_notify(3)), where there is one: ready, ending, and how it stands.

use sd_notify::NotifyState;

/// Every listener takes requests.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// No new requests are taken.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

/// How the server stands, for `systemctl status`.
pub(crate) fn status(text: &str) {
    tell(NotifyState::Status(text));
}

fn tell(state: NotifyState<'_>) {
    // Without NOTIFY_SOCKET in the environment this does nothing.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
