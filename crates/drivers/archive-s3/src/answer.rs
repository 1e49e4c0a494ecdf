//! What the service answers, in XML (Amazon S3 API Reference).

use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use std::fmt::Write;

/// Longest text out of an answer that is used (bytes): tokens and ids.
const TEXT_MAX: usize = 4096;

/// What services call the answer about versions: as documented, and as the operation is named.
const VERSIONING: [&str; 2] = ["VersioningConfiguration", "GetBucketVersioningResponse"];

/// Whether a bucket keeps versions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// It never did.
    Never,
    /// It does, or did and may have some.
    Kept,
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Keys and sizes.
    pub(crate) objects: Vec<(String, u64)>,
    /// Where the next page begins; none behind the last.
    pub(crate) next: Option<String>,
}

fn form<T>(read: Result<T, XmlDecodeError>) -> Result<T, String> {
    read.map_err(|_| "its answer is not of the documented form".to_owned())
}

fn text(tag: &mut ScopedDecoder<'_, '_>) -> Result<String, XmlDecodeError> {
    let text = try_data(tag)?.into_owned();
    if text.len() > TEXT_MAX { Err(XmlDecodeError::custom("a text that is too long")) } else { Ok(text) }
}

/// Reads the elements right below the root, which has one of the names.
fn each(
    answer: &str,
    roots: &[&str],
    mut element: impl FnMut(&str, &mut ScopedDecoder<'_, '_>) -> Result<(), XmlDecodeError>,
) -> Result<(), String> {
    let mut document = Document::new(answer);
    let mut within = form(document.root_element())?;
    if !roots.contains(&within.start_el().local()) {
        return Err("its answer is another one than was asked for".to_owned());
    }
    while let Some(mut tag) = within.next_tag() {
        let name = tag.start_el().local().to_owned();
        form(element(&name, &mut tag))?;
    }
    Ok(())
}

/// Whether the bucket keeps versions (`GetBucketVersioning`).
pub(crate) fn versions(answer: &str) -> Result<Versions, String> {
    let mut found = Versions::Never;
    each(answer, &VERSIONING, |name, tag| {
        if name == "Status" && !text(tag)?.is_empty() {
            found = Versions::Kept;
        }
        Ok(())
    })?;
    Ok(found)
}

/// The id of an upload that was begun (`CreateMultipartUpload`).
pub(crate) fn upload(answer: &str) -> Result<String, String> {
    let mut id = String::new();
    each(answer, &["InitiateMultipartUploadResult"], |name, tag| {
        if name == "UploadId" {
            id = text(tag)?;
        }
        Ok(())
    })?;
    if id.is_empty() { Err("it names no upload".to_owned()) } else { Ok(id) }
}

/// A page of what there is (`ListObjectsV2`).
pub(crate) fn listing(answer: &str) -> Result<Page, String> {
    let (mut page, mut more) = (Page::default(), false);
    each(answer, &["ListBucketResult"], |name, tag| {
        match name {
            "IsTruncated" => more = text(tag)? == "true",
            "NextContinuationToken" => page.next = Some(text(tag)?),
            "Contents" => {
                let (mut key, mut size) = (None, None);
                while let Some(mut inner) = tag.next_tag() {
                    match inner.start_el().local() {
                        "Key" => key = Some(text(&mut inner)?),
                        "Size" => size = text(&mut inner)?.parse().ok(),
                        _ => {}
                    }
                }
                let object = key.zip(size).ok_or_else(|| XmlDecodeError::custom("an object without key or size"))?;
                page.objects.push(object);
            }
            _ => {}
        }
        Ok(())
    })?;
    match (more, &page.next) {
        (true, None) => Err("it has more and does not say where".to_owned()),
        (true, Some(_)) => Ok(page),
        (false, _) => Ok(Page { next: None, ..page }),
    }
}

/// The code of an error; cut to what is surely only that.
pub(crate) fn code(answer: &str) -> Option<String> {
    let mut found = None;
    each(answer, &["Error"], |name, tag| {
        if name == "Code" {
            found = Some(text(tag)?);
        }
        Ok(())
    })
    .ok()?;
    found.filter(|code| !code.is_empty() && code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// What completes an upload, of parts with these tags in order.
pub(crate) fn completion(tags: &[String]) -> String {
    let mut text = String::from("<CompleteMultipartUpload>");
    for (n, tag) in tags.iter().enumerate() {
        let tag = tag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(text, "<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", n + 1);
    }
    text + "</CompleteMultipartUpload>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_is_answered_panics(
            answer in "(<[A-Za-z/? =\"&;]{0,20}>|[a-z0-9&;]{0,8}){0,40}",
            at in 0..LIST.len(),
            with in any::<char>(),
        ) {
            let mut altered: String = LIST.chars().take(at).collect();
            altered.push(with);
            altered.extend(LIST.chars().skip(at + 1));
            for text in [answer, altered] {
                let _ = (listing(&text), versions(&text), upload(&text), code(&text));
            }
        }
    }

    const LIST: &str = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>a+/=</NextContinuationToken>\
        <Contents><Key>prod/x&amp;y</Key><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>\
        <Contents><Key>prod/z</Key><Size>8</Size></Contents></ListBucketResult>";

    #[test]
    fn answers_are_read() {
        let page = listing(LIST).unwrap();
        assert_eq!(page.objects, [("prod/x&y".to_owned(), 7), ("prod/z".to_owned(), 8)]);
        assert_eq!(page.next.as_deref(), Some("a+/="));
        assert_eq!(listing(&LIST.replace("true", "false")).unwrap().next, None);
        let status = |inner: &str| versions(&format!("<VersioningConfiguration>{inner}</VersioningConfiguration>"));
        assert_eq!(status(""), Ok(Versions::Never));
        assert_eq!(versions("<VersioningConfiguration/>"), Ok(Versions::Never));
        for kept in ["Enabled", "Suspended", "Whatever"] {
            assert_eq!(status(&format!("<Status>{kept}</Status>")), Ok(Versions::Kept));
        }
        let begun = "<InitiateMultipartUploadResult><UploadId>id-1</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(upload(begun), Ok("id-1".to_owned()));
        assert_eq!(code("<Error><Code>SlowDown</Code><Message>x</Message></Error>").as_deref(), Some("SlowDown"));
        assert_eq!(
            completion(&["\"a\"".to_owned()]),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
            <ETag>\"a\"</ETag></Part></CompleteMultipartUpload>"
        );
    }

    #[test]
    fn answers_of_another_form_are_refused() {
        for wrong in [
            "",
            "<",
            "no xml",
            "<Other/>",
            "<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ] {
            assert!(listing(wrong).is_err(), "{wrong}");
        }
        assert!(upload("<InitiateMultipartUploadResult/>").is_err());
        assert_eq!(code("<Error><Code>a\nline</Code></Error>"), None);
    }
}
