//! Objects of a destination, read back.

use keyreeve_archive::{Archive, ArchiveError, Content};
use keyreeve_backup::{
    BackupError, BackupKey, HEAD_MAX, Head, Item, Manifest, Object, ObjectName, Reader, Segment, split_head,
};
use keyreeve_model::roots::RootRecord;
use keyreeve_model::{Name, Wrapped};
use std::collections::{BTreeMap, VecDeque};
use tokio::io::AsyncReadExt;

use crate::error::{Code, Error};

/// Bytes read at a time.
const PIECE: usize = 128 * 1024;

/// An object whose head was read.
pub(super) struct Begun {
    pub(super) head: Head,
    front: Vec<u8>,
    rest: Vec<u8>,
    content: Content,
}

impl Begun {
    /// Opens an object and reads its head, which must say that it is this one.
    pub(super) async fn open(archive: &dyn Archive, name: &ObjectName) -> Result<Self, Error> {
        let mut content = archive.get(name).await?;
        let mut bytes = Vec::new();
        loop {
            if let Some((head, len)) = split_head(&bytes)? {
                if head.name != name.as_str() {
                    return Err(Error::new(
                        Code::Tampered,
                        format!("what lies under the name `{name}` is another object"),
                    ));
                }
                let rest = bytes.split_off(len);
                return Ok(Self { head, front: bytes, rest, content });
            }
            if bytes.len() > HEAD_MAX || more(&mut content, &mut bytes).await? == 0 {
                return Err(BackupError::Cut.into());
            }
        }
    }

    /// Goes on with what follows the head.
    pub(super) fn read(self, key: &BackupKey) -> Result<Reading, Error> {
        let mut items = Vec::new();
        let mut reader = Reader::begin(self.head, &self.front, key)?;
        reader.feed(&self.rest, &mut items)?;
        Ok(Reading { content: self.content, reader: Some(reader), items: items.into(), manifest: None })
    }
}

/// What objects at a destination say without being opened. These are claims; a false one fails when it is used.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Heads of one deployment, the newest first.
    heads: Vec<Head>,
}

impl Known {
    /// What archives and ledgers say of the deployment of one of them.
    pub(super) async fn at(source: &dyn Archive, chosen: &Head) -> Result<Self, Error> {
        let mut heads = vec![chosen.clone()];
        for stored in source.list().await? {
            if !matches!(stored.name.object(), Some(Object::Archive(_) | Object::Ledger { .. })) {
                continue;
            }
            match Begun::open(source, &stored.name).await {
                Ok(begun) if begun.head.deployment == chosen.deployment => heads.push(begun.head),
                Ok(_) => {}
                Err(error) if error.code() == Code::ArchiveUnavailable => return Err(error),
                Err(error) => tracing::warn!(name = %stored.name, %error, "an object at the destination says nothing"),
            }
        }
        heads.sort_by_key(|head| std::cmp::Reverse(head.created));
        Ok(Self { heads })
    }

    /// The newest of them.
    pub(super) fn newest(&self) -> Option<&Head> {
        self.heads.first()
    }

    /// The newest that is said of a root of trust.
    pub(super) fn root(&self, name: &Name) -> Option<&RootRecord> {
        self.heads.iter().find_map(|head| head.roots.get(name))
    }

    /// How roots of trust wrapped a version of the backup key, the newest first.
    pub(super) fn wrappings(&self, version: u32) -> impl Iterator<Item = &Wrapped> {
        self.heads.iter().filter_map(move |head| match head.key == version {
            true => Some(&head.wrapped),
            false => head.older.get(&version),
        })
    }

    /// The newest object under each version of the backup key that an archive of before does not know.
    pub(super) fn later_than(&self, archive: &Head) -> BTreeMap<u32, &Head> {
        let unknown = |head: &&Head| head.key != archive.key && !archive.older.contains_key(&head.key);
        let mut later = BTreeMap::new();
        for head in self.heads.iter().filter(unknown) {
            later.entry(head.key).or_insert(head);
        }
        later
    }
}

async fn more(content: &mut Content, bytes: &mut Vec<u8>) -> Result<usize, Error> {
    let start = bytes.len();
    bytes.resize(start + PIECE, 0);
    let read = content.read(&mut bytes[start..]).await;
    let some = read.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
    bytes.truncate(start + some);
    Ok(some)
}

/// What follows the head of an object, item by item.
pub(super) struct Reading {
    content: Content,
    reader: Option<Reader>,
    items: VecDeque<Item>,
    manifest: Option<Manifest>,
}

impl Reading {
    /// The next item; nothing at the end, which is known to be the right one then.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let Some(reader) = self.reader.as_mut() else { return Ok(None) };
            let (mut bytes, mut items) = (Vec::new(), Vec::new());
            if more(&mut self.content, &mut bytes).await? > 0 {
                reader.feed(&bytes, &mut items)?;
            } else if let Some(reader) = self.reader.take() {
                self.manifest = Some(reader.finish(&mut items)?);
            }
            self.items.extend(items);
        }
    }

    /// What the object says of all that was in it; once everything was read.
    pub(super) fn manifest(&self) -> Result<&Manifest, Error> {
        self.manifest.as_ref().ok_or_else(|| BackupError::Cut.into())
    }
}

/// Segments that have every entry from the first on, without a gap, as far as there are any. Each begins where the one
/// before it ends, or earlier.
pub(super) fn chain(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.sort_unstable();
    let (mut chain, mut covered) = (Vec::<Segment>::new(), 0);
    while let Some(next) = segments.iter().filter(|s| s.from <= covered && s.to > covered).max_by_key(|s| s.to) {
        covered = next.to;
        chain.push(*next);
    }
    chain
}

/// The backups and the pieces of the log at a destination.
pub(super) async fn contents(archive: &dyn Archive) -> Result<(Vec<(u64, u64)>, Vec<Segment>), Error> {
    let (mut archives, mut segments) = (Vec::new(), Vec::new());
    for stored in archive.list().await? {
        match stored.name.object() {
            Some(Object::Archive(sequence)) => archives.push((sequence, stored.size)),
            Some(Object::Log(segment)) => segments.push(segment),
            Some(Object::Ledger { .. } | Object::Probe) | None => {}
        }
    }
    Ok((archives, segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: u64, to: u64) -> Segment {
        Segment { from, to }
    }

    #[test]
    fn a_chain_of_segments_has_no_gap() {
        let all = vec![segment(10, 20), segment(0, 5), segment(0, 10), segment(15, 30), segment(40, 50)];
        assert_eq!(chain(all), [segment(0, 10), segment(10, 20), segment(15, 30)]);
        assert_eq!(chain(vec![segment(1, 5)]), []);
    }
}
