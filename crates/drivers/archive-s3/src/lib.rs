//! A destination of backups that is a bucket of Amazon S3, or of a service that speaks the same.
//!
//! - **Atomic and immutable**: an object is one `PutObject`, or from [`PART`] on a multipart upload; both with
//!   `If-None-Match: *`, so that nothing is ever replaced but by `replace`. A service that does not know that header is
//!   asked before whether the object is there.
//! - **Replaced means replaced**: a bucket that keeps versions keeps what a ledger was before a key was destroyed. Such
//!   a bucket is refused, unless the configuration says that old versions are taken care of elsewhere.
//! - Requests are signed by `aws-sigv4` (Signature Version 4, AWS General Reference), with the hash of the body in the
//!   signature; everything goes through one client over TLS, without redirects and without proxies of the environment.
//! - What passes is tried again, five times with growing pauses. Bodies are at most [`PART_MAX`] long and in memory, so
//!   that a request can be made again.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod credentials;
mod request;

use async_trait::async_trait;
use futures::TryStreamExt;
use keyreeve_archive::{Archive, ArchiveError, Content, REPLACED_MAX, Stored};
use keyreeve_backup::ObjectName;
use reqwest::{Method, StatusCode};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio_util::io::StreamReader;

use answer::Versions;
use request::{Asked, Said, Service, Trouble};

/// Bytes of a part of an upload, where the length of an object is not known or fits; and the most.
pub const PART: usize = 8 * 1024 * 1024;
/// See [`PART`].
pub const PART_MAX: usize = 64 * 1024 * 1024;
/// Parts of one upload (Amazon S3 User Guide, "Multipart upload limits").
const PARTS: u64 = 10_000;
/// Longest answer that is read into memory (bytes): a page of a listing.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Where the time of day comes from, for signatures.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Which bucket, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// What the names of objects begin with there; empty, or ended by `/`.
    pub prefix: String,
    /// The region.
    pub region: String,
    /// The address of the service; that of Amazon in the region unless said.
    pub endpoint: Option<String>,
    /// Credentials, in the form of `~/.aws/credentials`, profile `default`. Read anew for each request.
    pub credentials_file: PathBuf,
    /// Authorities (PEM) to trust instead of the system's.
    pub authorities_pem: Option<Vec<u8>>,
    /// That a bucket with versions is meant.
    pub accept_versions: bool,
}

impl Settings {
    /// Whether the settings can be those of a bucket.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), &'static str> {
        let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        if !(3..=63).contains(&self.bucket.len()) || !plain(&self.bucket, "-._") {
            return Err("a bucket is named by 3 to 63 letters, digits, `-` and `.`");
        }
        let ends = self.prefix.is_empty() || self.prefix.ends_with('/') && !self.prefix.starts_with('/');
        if !ends || self.prefix.len() > 512 || !plain(&self.prefix, "-._/") || self.prefix.contains("//") {
            return Err("a prefix is letters, digits, `-`, `_`, `.` and `/`, and ends with `/`");
        }
        if self.prefix.split('/').any(|part| part == "." || part == "..") {
            return Err("a prefix has no `.` and no `..` between its `/`");
        }
        if self.region.is_empty() || !plain(&self.region, "-_") {
            return Err("a region is a word such as eu-central-1");
        }
        request::address(self).map(drop)
    }
}

/// A destination that is a bucket.
pub struct S3Archive {
    service: Service,
    accept_versions: bool,
    checked: OnceCell<()>,
}

impl S3Archive {
    /// Nothing is asked before the first request.
    ///
    /// # Errors
    /// [`ArchiveError::Unavailable`]: the settings or the authorities cannot be used.
    pub fn new(settings: Settings, clock: WallClock) -> Result<Self, ArchiveError> {
        let accept_versions = settings.accept_versions;
        let service = Service::new(settings, clock).map_err(ArchiveError::Unavailable)?;
        Ok(Self { service, accept_versions, checked: OnceCell::new() })
    }

    /// Refuses a bucket that keeps versions, once.
    async fn ready(&self) -> Result<(), ArchiveError> {
        let look = || async {
            if self.accept_versions {
                return Ok(());
            }
            let asked = Asked::bucket(Method::GET).query("versioning", "");
            let why = match self.service.text(&asked).await {
                Ok(text) => match answer::versions(&text).map_err(ArchiveError::Unavailable)? {
                    Versions::Never => return Ok(()),
                    Versions::Kept => "keeps versions of objects".to_owned(),
                },
                Err(Trouble::Refused(said)) => format!("does not say whether it keeps versions ({})", said.words()),
                Err(trouble) => return Err(sort(None, trouble)),
            };
            Err(ArchiveError::ReadOnly(format!(
                "the bucket `{}` {why}: an old version of a ledger brings destroyed keys back. Take another bucket, or \
                 say `accept_versions = true` once old versions of ledger-* end soon (docs/operations.md)",
                self.service.bucket()
            )))
        };
        self.checked.get_or_try_init(look).await.map(drop)
    }

    async fn exists(&self, name: &ObjectName) -> Result<Option<u64>, ArchiveError> {
        match self.service.ask(&Asked::object(Method::HEAD, name)).await {
            Ok(answer) => Ok(Some(request::length(answer.headers()).unwrap_or(0))),
            Err(Trouble::Refused(said)) if said.status == StatusCode::NOT_FOUND => Ok(None),
            Err(trouble) => Err(sort(Some(name), trouble)),
        }
    }

    async fn put_whole(&self, name: &ObjectName, body: Vec<u8>) -> Result<(), ArchiveError> {
        let asked = Asked::object(Method::PUT, name).body(body).never_replacing();
        self.service.ask(&asked).await.map(drop).map_err(|trouble| sort(Some(name), trouble))
    }

    /// Uploads by parts; what fails is taken back.
    async fn put_parts(&self, name: &ObjectName, mut upload: Upload<'_>) -> Result<u64, ArchiveError> {
        let asked = Asked::object(Method::POST, name).query("uploads", "");
        let text = self.service.text(&asked).await.map_err(|trouble| sort(Some(name), trouble))?;
        let id = answer::upload(&text).map_err(ArchiveError::Unavailable)?;
        let sent = self.send_parts(name, &id, &mut upload).await;
        if sent.is_err() {
            let abort = Asked::object(Method::DELETE, name).query("uploadId", &id);
            // Rests are removed by a rule of the bucket; docs/operations.md.
            let _ = self.service.ask(&abort).await;
        }
        sent
    }

    async fn send_parts(&self, name: &ObjectName, id: &str, upload: &mut Upload<'_>) -> Result<u64, ArchiveError> {
        let mut tags = Vec::new();
        loop {
            let part = upload.next().await?;
            if part.is_empty() {
                break;
            }
            let number = (tags.len() + 1).to_string();
            let asked = Asked::object(Method::PUT, name).query("partNumber", &number).query("uploadId", id).body(part);
            let answer = self.service.ask(&asked).await.map_err(|trouble| sort(Some(name), trouble))?;
            let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            tags.push(tag.ok_or_else(|| unavailable("the service names no tag of a part"))?);
        }
        upload.is_whole()?;
        let body = answer::completion(&tags).into_bytes();
        let asked = Asked::object(Method::POST, name).query("uploadId", id).body(body).never_replacing();
        match self.service.text(&asked).await {
            // An error may come with a good status, for the answer begins before the work is done.
            Ok(text) => match answer::code(&text) {
                None => Ok(upload.done),
                Some(code) => Err(unavailable(format!("the upload was not completed: {code}"))),
            },
            // Its answer was lost, and it was made again.
            Err(Trouble::Refused(said)) if said.code.as_deref() == Some("NoSuchUpload") => {
                match self.exists(name).await? {
                    Some(size) if size == upload.done => Ok(upload.done),
                    _ => Err(unavailable("the upload was given up by the service")),
                }
            }
            Err(trouble) => Err(sort(Some(name), trouble)),
        }
    }
}

/// A content on its way, part by part.
struct Upload<'a> {
    content: &'a mut Content,
    size: Option<u64>,
    part: usize,
    done: u64,
    /// The first part, which was read to see whether there are more.
    first: Option<Vec<u8>>,
}

impl Upload<'_> {
    /// The next part; empty at the end.
    async fn next(&mut self) -> Result<Vec<u8>, ArchiveError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let mut part = Vec::with_capacity(self.part.min(PART));
        let mut limited = (&mut *self.content).take(self.part as u64);
        limited.read_to_end(&mut part).await.map_err(ArchiveError::Source)?;
        self.done += part.len() as u64;
        Ok(part)
    }

    fn is_whole(&self) -> Result<(), ArchiveError> {
        if self.size.is_some_and(|size| size != self.done) {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "another number of bytes came than was promised");
            return Err(ArchiveError::Source(error));
        }
        Ok(())
    }
}

/// How long the parts of an object are: as many as may be, or fewer.
fn part_of(size: Option<u64>) -> Result<usize, ArchiveError> {
    let least = size.unwrap_or(0).div_ceil(PARTS);
    let part = usize::try_from(least).unwrap_or(usize::MAX).max(PART);
    if part > PART_MAX {
        let most = PARTS * PART_MAX as u64;
        return Err(ArchiveError::ReadOnly(format!("an object has at most {most} bytes")));
    }
    Ok(part)
}

fn unavailable(text: impl Into<String>) -> ArchiveError {
    ArchiveError::Unavailable(text.into())
}

fn sort(name: Option<&ObjectName>, trouble: Trouble) -> ArchiveError {
    match (trouble, name) {
        (Trouble::Passing(text), _) => ArchiveError::Unavailable(text),
        (Trouble::Refused(Said { status: StatusCode::NOT_FOUND, code }), Some(name))
            if code.as_deref().is_none_or(|code| code == "NoSuchKey") =>
        {
            ArchiveError::NotFound(name.clone())
        }
        (Trouble::Refused(Said { status: StatusCode::PRECONDITION_FAILED, .. }), Some(name)) => {
            ArchiveError::Exists(name.clone())
        }
        (Trouble::Refused(said), _) => ArchiveError::ReadOnly(said.words()),
    }
}

#[async_trait]
impl Archive for S3Archive {
    fn kind(&self) -> &'static str {
        "s3"
    }

    fn place(&self) -> String {
        self.service.place()
    }

    async fn put(&self, name: &ObjectName, mut content: Content, size: Option<u64>) -> Result<u64, ArchiveError> {
        self.ready().await?;
        if self.exists(name).await?.is_some() {
            return Err(ArchiveError::Exists(name.clone()));
        }
        let part = part_of(size)?;
        let mut upload = Upload { content: &mut content, size, part, done: 0, first: None };
        let first = upload.next().await?;
        if first.len() < part {
            upload.is_whole()?;
            let done = upload.done;
            return self.put_whole(name, first).await.map(|()| done);
        }
        upload.first = Some(first);
        self.put_parts(name, upload).await
    }

    async fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError> {
        if content.len() > REPLACED_MAX {
            return Err(ArchiveError::ReadOnly(format!("an object that is replaced has at most {REPLACED_MAX} bytes")));
        }
        self.ready().await?;
        let asked = Asked::object(Method::PUT, name).body(content.to_vec());
        self.service.ask(&asked).await.map(drop).map_err(|trouble| sort(Some(name), trouble))
    }

    async fn get(&self, name: &ObjectName) -> Result<Content, ArchiveError> {
        let asked = Asked::object(Method::GET, name);
        let answer = self.service.ask(&asked).await.map_err(|trouble| sort(Some(name), trouble))?;
        let bytes = answer.bytes_stream().map_err(|error| io::Error::other(request::words(&error)));
        Ok(Box::new(StreamReader::new(Box::pin(bytes))))
    }

    async fn list(&self) -> Result<Vec<Stored>, ArchiveError> {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut asked = Asked::bucket(Method::GET).query("list-type", "2").query("prefix", self.service.prefix());
            if let Some(after) = &after {
                asked = asked.query("continuation-token", after);
            }
            let text = self.service.text(&asked).await.map_err(|trouble| sort(None, trouble))?;
            let page = answer::listing(&text).map_err(ArchiveError::Unavailable)?;
            for (key, size) in page.objects {
                if let Some(Ok(name)) = key.strip_prefix(self.service.prefix()).map(str::parse) {
                    found.push(Stored { name, size });
                }
            }
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                Some(_) => return Err(unavailable("the service gives the same page again")),
                None => break,
            }
        }
        found.sort();
        Ok(found)
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), ArchiveError> {
        match self.service.ask(&Asked::object(Method::DELETE, name)).await {
            Ok(_) => Ok(()),
            Err(trouble) => match sort(Some(name), trouble) {
                ArchiveError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            bucket: "keyreeve-backups".to_owned(),
            prefix: "prod/".to_owned(),
            region: "eu-central-1".to_owned(),
            endpoint: None,
            credentials_file: "/etc/keyreeve/s3".into(),
            authorities_pem: None,
            accept_versions: false,
        }
    }

    #[test]
    fn settings_name_a_bucket() {
        assert_eq!(settings().check(), Ok(()));
        let wrong: [fn(&mut Settings); 9] = [
            |settings| settings.bucket = "a".to_owned(),
            |settings| settings.bucket = "a/b/c".to_owned(),
            |settings| settings.prefix = "prod".to_owned(),
            |settings| settings.prefix = "../".to_owned(),
            |settings| settings.prefix = "a//b/".to_owned(),
            |settings| settings.region = String::new(),
            |settings| settings.endpoint = Some("http://s3.example.com".to_owned()),
            |settings| settings.endpoint = Some("https://user:secret@s3.example.com".to_owned()),
            |settings| settings.endpoint = Some("https://s3.example.com/path?query".to_owned()),
        ];
        for (n, alter) in wrong.iter().enumerate() {
            let mut altered = settings();
            alter(&mut altered);
            assert!(altered.check().is_err(), "{n}");
        }
        let local = Settings { endpoint: Some("http://127.0.0.1:9000".to_owned()), ..settings() };
        assert_eq!(local.check(), Ok(()));
    }

    #[test]
    fn parts_are_no_more_than_the_service_takes() {
        assert_eq!(part_of(None).unwrap(), PART);
        assert_eq!(part_of(Some(PARTS * PART as u64)).unwrap(), PART);
        assert_eq!(part_of(Some(PARTS * PART as u64 + 1)).unwrap(), PART + 1);
        assert!(part_of(Some(PARTS * PART_MAX as u64 + 1)).is_err());
    }
}
