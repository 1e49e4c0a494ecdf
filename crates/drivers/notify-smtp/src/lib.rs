//! The mail channel: a notice is a mail to fixed recipients, handed to one SMTP server over TLS (RFC 5321, RFC 8314).
//!
//! Nothing of a notice decides about headers or recipients: the library encodes every header, and the envelope comes
//! from the configuration alone.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod mail;

use async_trait::async_trait;
use keyreeve_model::{Name, Notice, UnixMillis};
use keyreeve_notify::{Notifier, NotifyError, PATIENCE_SECONDS};
use keyreeve_secret::SecretString;
use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters, TlsVersion};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error as ThisError;

/// Recipients of one channel (count).
pub const RECIPIENTS_MAX: usize = 50;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// TLS from the first byte, usually on port 465.
    Implicit,
    /// TLS after a greeting in the clear, usually on port 587; a server that does not offer it gets nothing.
    Starttls,
    /// None: only to a server on this machine, and without credentials.
    None,
}

/// A channel that cannot be set up.
#[derive(Debug, PartialEq, Eq, ThisError)]
pub enum SmtpSetup {
    /// An address of the configuration is none.
    #[error("`{0}` is not a mail address")]
    Address(String),
    /// Nobody, or too many.
    #[error("there are between 1 and {RECIPIENTS_MAX} recipients")]
    Recipients,
    /// Mail would travel in the clear.
    #[error("without TLS mail goes to a server on this machine only (a loopback address)")]
    Unprotected,
    /// A password would travel in the clear.
    #[error("without TLS no password is sent")]
    UnprotectedPassword,
    /// The authority cannot be read.
    #[error("the CA file holds no certificate in PEM form")]
    Authority,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// What a mail channel is made of.
#[derive(Debug)]
pub struct SmtpOptions {
    /// The channel's name.
    pub channel: Name,
    /// Name or address of the server; its certificate must be for it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS.
    pub protection: Protection,
    /// Certificates of authorities in PEM form; those of the system where there are none.
    pub ca_pem: Option<Vec<u8>>,
    /// User and password, where the server asks for them.
    pub credentials: Option<(String, SecretString)>,
    /// Who the mail is from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// How long one attempt may take, at most [`PATIENCE_SECONDS`].
    pub timeout: Duration,
}

/// A mail channel.
pub struct Smtp {
    channel: Name,
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<(String, SecretString)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    timeout: Duration,
}

impl Smtp {
    /// Sets the channel up. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SmtpSetup`].
    pub fn new(options: SmtpOptions) -> Result<Self, SmtpSetup> {
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|_| SmtpSetup::Address(text.clone()));
        let to = options.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() || to.len() > RECIPIENTS_MAX {
            return Err(SmtpSetup::Recipients);
        }
        let tls = match options.protection {
            Protection::None if !is_loopback(&options.host) => return Err(SmtpSetup::Unprotected),
            Protection::None if options.credentials.is_some() => return Err(SmtpSetup::UnprotectedPassword),
            Protection::None => Tls::None,
            Protection::Implicit => Tls::Wrapper(parameters(&options.host, options.ca_pem.as_deref())?),
            Protection::Starttls => Tls::Required(parameters(&options.host, options.ca_pem.as_deref())?),
        };
        Ok(Self {
            channel: options.channel,
            host: options.host,
            port: options.port,
            tls,
            credentials: options.credentials,
            from: mailbox(&options.from)?,
            to,
            timeout: options.timeout.min(Duration::from_secs(PATIENCE_SECONDS)),
        })
    }

    /// The connection of one attempt: the password is copied into the library's form for that long only.
    fn transport(&self) -> AsyncSmtpTransport<Tokio1Executor> {
        let mut builder: AsyncSmtpTransportBuilder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.clone())
                .port(self.port)
                .tls(self.tls.clone())
                .hello_name(ClientId::Domain(self.from.email.domain().to_owned()))
                .timeout(Some(self.timeout));
        if let Some((user, password)) = &self.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        builder.build()
    }
}

fn parameters(host: &str, ca_pem: Option<&[u8]>) -> Result<TlsParameters, SmtpSetup> {
    let mut builder = TlsParameters::builder(host.to_owned()).set_min_tls_version(TlsVersion::Tlsv12);
    if let Some(pem) = ca_pem {
        builder = builder.certificate_store(CertificateStore::None);
        let blocks = split(pem);
        if blocks.is_empty() {
            return Err(SmtpSetup::Authority);
        }
        for block in blocks {
            builder = builder.add_root_certificate(Certificate::from_pem(block).map_err(|_| SmtpSetup::Authority)?);
        }
    }
    builder.build_rustls().map_err(|error| SmtpSetup::Tls(chain(&error)))
}

/// The PEM blocks of a file with certificates.
fn split(pem: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let Ok(text) = std::str::from_utf8(pem) else { return Vec::new() };
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &pem[*start..end]).collect()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[async_trait]
impl Notifier for Smtp {
    fn channel(&self) -> &Name {
        &self.channel
    }

    fn kind(&self) -> &'static str {
        "smtp"
    }

    fn destination(&self) -> String {
        let to: Vec<String> = self.to.iter().map(|mailbox| mailbox.email.to_string()).collect();
        format!("{} by {}:{}", to.join(", "), self.host, self.port)
    }

    async fn send(&self, notice: &Notice, _now: UnixMillis) -> Result<(), NotifyError> {
        let mail = mail::of(notice, &self.from, &self.to)
            .map_err(|error| NotifyError::GiveUp(format!("the notice cannot be made a mail: {error}")))?;
        // The library's own limit is for each step.
        match tokio::time::timeout(self.timeout, self.transport().send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(judge(&error)),
            Err(_) => Err(NotifyError::TryAgain("the mail server took too long".to_owned())),
        }
    }
}

/// What an error means. A permanent refusal (5yz, RFC 5321 section 4.2.1) is one of this mail, unless it is about who
/// we are: that is put right by somebody, and the mail goes then.
fn judge(error: &lettre::transport::smtp::Error) -> NotifyError {
    const ABOUT_US: [u16; 4] = [530, 534, 535, 538];
    let code = error.status().map(u16::from);
    let text = match code {
        // What the server says besides may repeat what it was told.
        Some(code) => format!("the mail server answered {code}"),
        None => chain(error),
    };
    match code {
        Some(code) if error.is_permanent() && !ABOUT_US.contains(&code) => NotifyError::GiveUp(text),
        _ => NotifyError::TryAgain(text),
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        let more = found.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = found.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SmtpOptions {
        SmtpOptions {
            channel: "mail".parse().unwrap(),
            host: "mail.example.com".to_owned(),
            port: 587,
            protection: Protection::Starttls,
            ca_pem: None,
            credentials: None,
            from: "Keyreeve <keyreeve@example.com>".to_owned(),
            to: vec!["security@example.com".to_owned()],
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn mail_in_the_clear_stays_on_this_machine() {
        let clear = |host: &str| SmtpOptions { protection: Protection::None, host: host.to_owned(), ..options() };
        for host in ["localhost", "127.0.0.1", "::1", "[::1]"] {
            assert!(Smtp::new(clear(host)).is_ok(), "{host}");
        }
        for host in ["mail.example.com", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1"] {
            assert_eq!(Smtp::new(clear(host)).err(), Some(SmtpSetup::Unprotected), "{host}");
        }
        let credentials = Some(("user".to_owned(), SecretString::copy_from("password")));
        let told = SmtpOptions { credentials, ..clear("localhost") };
        assert_eq!(Smtp::new(told).err(), Some(SmtpSetup::UnprotectedPassword));
    }

    #[test]
    fn addresses_are_looked_at() {
        assert!(Smtp::new(options()).is_ok());
        let bad = |text: &str| Some(SmtpSetup::Address(text.to_owned()));
        for text in ["", "nobody", "a@b\r\nBcc: c@d", "a@b, c@d"] {
            let to = SmtpOptions { to: vec![text.to_owned()], ..options() };
            assert_eq!(Smtp::new(to).err(), bad(text));
            let from = SmtpOptions { from: text.to_owned(), ..options() };
            assert_eq!(Smtp::new(from).err(), bad(text));
        }
        assert_eq!(Smtp::new(SmtpOptions { to: Vec::new(), ..options() }).err(), Some(SmtpSetup::Recipients));
        let none = SmtpOptions { ca_pem: Some(b"nothing".to_vec()), ..options() };
        assert_eq!(Smtp::new(none).err(), Some(SmtpSetup::Authority));
    }

    #[test]
    fn the_destination_names_no_password() {
        let credentials = Some(("user".to_owned(), SecretString::copy_from("hidden")));
        let smtp = Smtp::new(SmtpOptions { credentials, ..options() }).unwrap();
        assert_eq!(smtp.destination(), "security@example.com by mail.example.com:587");
    }
}
