//! `[notify]`: the channels on which people are told of what happened.

use keyreeve_model::{Name, NoticeKind};
use keyreeve_notify::Notifier;
use keyreeve_notify_smtp::{Protection, Smtp, SmtpOptions};
use keyreeve_notify_webhook::{Webhook, WebhookOptions};
use keyreeve_secret::{SecretBytes, SecretString};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Fault;
use crate::files;

/// Channels of one server (count).
const CHANNELS_MAX: usize = 16;

/// Telling people.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// Where notices go; nowhere if there is none.
    pub channels: Vec<ChannelConfig>,
}

/// A channel: its kind, and what that kind needs to know. The fields of one kind are unknown to the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ChannelConfig {
    /// A program that takes JSON over HTTPS.
    Webhook {
        /// The channel's name.
        name: Name,
        /// Where notices are posted to, an `https` address.
        url: String,
        /// A file with what signs them: at least 32 bytes, known to the receiver.
        secret_file: PathBuf,
        /// A file with certificates of authorities; those of the system where nothing else is said.
        ca: Option<PathBuf>,
        /// The kinds of notices that go here; all where nothing else is said. Emergencies go everywhere.
        only: Option<BTreeSet<NoticeKind>>,
        /// How long one attempt may take (seconds).
        #[serde(default = "ten_seconds")]
        timeout_seconds: u64,
    },
    /// Mail.
    Smtp {
        /// The channel's name.
        name: Name,
        /// Name or address of the mail server.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is protected.
        tls: MailTls,
        /// A file with certificates of authorities; those of the system where nothing else is said.
        ca: Option<PathBuf>,
        /// Whom the server knows us as, if it asks.
        user: Option<String>,
        /// A file that holds the password of that user.
        password_file: Option<PathBuf>,
        /// Who the mail is from.
        from: String,
        /// Who gets it.
        to: Vec<String>,
        /// The kinds of notices that go here; all where nothing else is said. Emergencies go everywhere.
        only: Option<BTreeSet<NoticeKind>>,
        /// How long one attempt may take (seconds).
        #[serde(default = "ten_seconds")]
        timeout_seconds: u64,
    },
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// TLS from the first byte, usually on port 465.
    Implicit,
    /// TLS after a greeting in the clear, usually on port 587.
    Starttls,
    /// None, on this machine only.
    None,
}

/// A channel that was set up.
pub(crate) struct Opened {
    pub(crate) notifier: Arc<dyn Notifier>,
    /// The kinds it is for; all where there is nothing.
    pub(crate) only: Option<BTreeSet<NoticeKind>>,
}

const fn ten_seconds() -> u64 {
    10
}

impl NotifyConfig {
    /// Takes relative paths from `base`.
    pub(super) fn resolve(&mut self, base: &Path) {
        for path in self.channels.iter_mut().flat_map(ChannelConfig::paths) {
            *path = base.join(&*path);
        }
    }

    /// Sets every channel up, which reads their files; nothing is sent.
    pub(crate) fn open(&self) -> Result<Vec<Opened>, Fault> {
        if self.channels.len() > CHANNELS_MAX {
            let problem = format!("there are more than {CHANNELS_MAX}");
            return Err(Fault::new("notify.channels", problem, "leave some out"));
        }
        let mut names = BTreeSet::new();
        let mut opened = Vec::new();
        for (n, channel) in self.channels.iter().enumerate() {
            let place = format!("notify.channels[{n}]");
            if !names.insert(channel.name()) {
                let problem = format!("`{}` is the name of two channels", channel.name());
                return Err(Fault::new(format!("{place}.name"), problem, "give each a name of its own"));
            }
            opened.push(channel.open(&place)?);
        }
        Ok(opened)
    }

    /// The channels, as `keyreeve config check` tells of them.
    pub(crate) fn seen(&self) -> Result<Vec<String>, Fault> {
        let opened = self.open()?.into_iter().zip(0..).map(|(opened, n): (_, usize)| {
            let (channel, kind) = (opened.notifier.channel(), opened.notifier.kind());
            format!("notify.channels[{n}]: `{channel}` ({kind}) leads to {}", opened.notifier.destination())
        });
        Ok(opened.collect())
    }
}

impl ChannelConfig {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        match self {
            Self::Webhook { name, .. } | Self::Smtp { name, .. } => name,
        }
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Webhook { secret_file, ca, .. } => [Some(secret_file), ca.as_mut()].into_iter().flatten().collect(),
            Self::Smtp { password_file, ca, .. } => {
                [password_file.as_mut(), ca.as_mut()].into_iter().flatten().collect()
            }
        }
    }

    fn open(&self, place: &str) -> Result<Opened, Fault> {
        let refused = |problem: String| {
            Fault::new(place, problem, "see the channels in the commented example deploy/keyreeve.toml")
        };
        match self {
            Self::Webhook { name, url, secret_file, ca, only, timeout_seconds } => {
                let options = WebhookOptions {
                    channel: name.clone(),
                    url: url.clone(),
                    secret: secret(secret_file, &format!("{place}.secret_file"))?,
                    ca_pem: authority(ca.as_deref(), place)?,
                    timeout: patience(*timeout_seconds, place)?,
                };
                let webhook = Webhook::new(options).map_err(|error| refused(error.to_string()))?;
                Ok(Opened { notifier: Arc::new(webhook), only: only.clone() })
            }
            Self::Smtp { name, host, port, tls, ca, user, password_file, from, to, only, timeout_seconds } => {
                let options = SmtpOptions {
                    channel: name.clone(),
                    host: host.clone(),
                    port: *port,
                    protection: tls.protection(),
                    ca_pem: authority(ca.as_deref(), place)?,
                    credentials: credentials(user.as_deref(), password_file.as_deref(), place)?,
                    from: from.clone(),
                    to: to.clone(),
                    timeout: patience(*timeout_seconds, place)?,
                };
                let smtp = Smtp::new(options).map_err(|error| refused(error.to_string()))?;
                Ok(Opened { notifier: Arc::new(smtp), only: only.clone() })
            }
        }
    }
}

impl MailTls {
    const fn protection(self) -> Protection {
        match self {
            Self::Implicit => Protection::Implicit,
            Self::Starttls => Protection::Starttls,
            Self::None => Protection::None,
        }
    }
}

fn patience(seconds: u64, place: &str) -> Result<Duration, Fault> {
    let most = keyreeve_notify::PATIENCE_SECONDS;
    let problem = format!("{seconds} seconds are not between 1 and {most}");
    let fault = || Fault::new(format!("{place}.timeout_seconds"), problem, "write 10, or leave it out");
    (1..=most).contains(&seconds).then(|| Duration::from_secs(seconds)).ok_or_else(fault)
}

fn authority(path: Option<&Path>, place: &str) -> Result<Option<Vec<u8>>, Fault> {
    let read = |path| files::read_public(path).map_err(|trouble| Fault::file(format!("{place}.ca"), trouble));
    path.map(read).transpose()
}

/// What is in a private file, without the end of the line.
fn secret(path: &Path, field: &str) -> Result<SecretBytes, Fault> {
    let mut bytes = files::read_private(path).map_err(|trouble| Fault::file(field, trouble))?;
    let end = bytes.expose().iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    bytes.truncate(end);
    Ok(bytes)
}

fn credentials(
    user: Option<&str>,
    password: Option<&Path>,
    place: &str,
) -> Result<Option<(String, SecretString)>, Fault> {
    let field = format!("{place}.password_file");
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(path)) => match SecretString::from_utf8(secret(path, &field)?) {
            Ok(password) if !password.is_empty() => Ok(Some((user.to_owned(), password))),
            _ => Err(Fault::new(field, "the file is empty or not text", "put the password into it, on one line")),
        },
        _ => {
            let problem = "`user` and `password_file` belong together";
            Err(Fault::new(field, problem, "give both, or neither where the server asks for none"))
        }
    }
}
