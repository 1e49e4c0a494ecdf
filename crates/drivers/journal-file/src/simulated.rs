//! A disk in memory that fails and loses power on demand.
//!
//! What was written and not synced survives a power cut sector by sector or not at all; names that were not synced
//! survive up to some operation, in order, as on a journalling file system.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What is being done when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Writing within a file.
    Overwrite,
    /// Writing that makes a file longer.
    Grow,
    /// Syncing a file.
    Sync,
    /// Creating, renaming, removing; syncing a directory.
    Names,
}

/// How much of a failing operation takes effect all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Part,
    All,
}

type Fault = Box<dyn FnMut(Operation, &Path) -> Option<(io::ErrorKind, Effect)> + Send>;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    made: u64,
    fault: Option<Fault>,
}

#[derive(Clone, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, id) => {
                names.insert(path.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

impl State {
    fn strike(&mut self, operation: Operation, path: &Path) -> (Effect, io::Result<()>) {
        match self.fault.as_mut().and_then(|fault| fault(operation, path)) {
            None => (Effect::All, Ok(())),
            Some((kind, effect)) => (effect, Err(kind.into())),
        }
    }

    fn rename_names(&mut self, change: NameChange, path: &Path) -> io::Result<()> {
        let (effect, result) = self.strike(Operation::Names, path);
        if effect != Effect::Nothing {
            change.apply(&mut self.names);
            self.pending.push(change);
        }
        result
    }
}

impl Contents {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn persist(&mut self, sector: usize) {
        let end = self.seen.len().min((sector + 1) * SECTOR);
        let start = (sector * SECTOR).min(end);
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.seen[start..end]);
    }
}

/// A small generator of numbers (xorshift64*): tests are repeatable.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

impl SimDisk {
    /// Has a function decide on every operation from now on.
    pub(crate) fn fail(&self, fault: impl FnMut(Operation, &Path) -> Option<(io::ErrorKind, Effect)> + Send + 'static) {
        self.state.lock().fault = Some(Box::new(fault));
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        self.state.lock().fault = None;
    }

    /// The disk as it is after losing power at this moment; this one goes on.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = Random(seed | 1);
        let state = self.state.lock();
        let mut names = state.durable_names.clone();
        let survive = random.below(state.pending.len() + 1);
        state.pending[..survive].iter().for_each(|change| change.apply(&mut names));
        let mut files = BTreeMap::new();
        for (id, contents) in &state.files {
            let mut contents = contents.clone();
            for sector in std::mem::take(&mut contents.dirty) {
                if random.below(2) == 0 {
                    contents.persist(sector);
                }
            }
            contents.seen.clone_from(&contents.durable);
            files.insert(*id, contents);
        }
        Self::of(files, names, &state)
    }

    /// The disk as a process that starts now would see it.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state.lock();
        Self::of(state.files.clone(), state.names.clone(), &state)
    }

    fn of(files: BTreeMap<u64, Contents>, names: BTreeMap<PathBuf, u64>, state: &State) -> Self {
        let copy = State {
            files,
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            made: state.made,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// Names of all files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// Changes the bytes of a file, durably.
    pub(crate) fn alter(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let id = state.names[path];
        let contents = state.files.get_mut(&id).unwrap();
        change(&mut contents.seen);
        contents.durable.clone_from(&contents.seen);
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        self.create(path).unwrap().write_at(bytes, 0).unwrap();
        self.alter(path, |_| {});
        let mut state = self.state.lock();
        state.durable_names = state.names.clone();
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    id: u64,
    path: PathBuf,
}

impl DiskFile for SimFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let offset = usize::try_from(offset).unwrap();
        let grows = state.files[&self.id].seen.len() < offset + bytes.len();
        let operation = if grows { Operation::Grow } else { Operation::Overwrite };
        let (effect, result) = state.strike(operation, &self.path);
        let contents = state.files.get_mut(&self.id).unwrap();
        match effect {
            Effect::Nothing => {}
            Effect::Part => contents.write(&bytes[..bytes.len() / 2], offset),
            Effect::All => contents.write(bytes, offset),
        }
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock();
        let (effect, result) = state.strike(Operation::Sync, &self.path);
        let contents = state.files.get_mut(&self.id).unwrap();
        // A failed sync leaves the pages clean: what did not get through is gone, though still seen until the power
        // cut.
        for (n, sector) in std::mem::take(&mut contents.dirty).into_iter().enumerate() {
            match effect {
                Effect::Nothing => {}
                Effect::Part if n % 2 == 1 => {}
                Effect::Part | Effect::All => contents.persist(sector),
            }
        }
        result
    }
}

impl Disk for SimDisk {
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.dirs.contains(path) {
            let (effect, result) = state.strike(Operation::Names, path);
            if effect != Effect::Nothing {
                state.dirs.extend(path.ancestors().map(Path::to_owned));
            }
            result?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let (effect, result) = state.strike(Operation::Names, path);
        if effect == Effect::All {
            let upto = state.pending.iter().rposition(|change| change.is_in(path)).map_or(0, |last| last + 1);
            let done: Vec<NameChange> = state.pending.drain(..upto).collect();
            done.iter().for_each(|change| change.apply(&mut state.durable_names));
        }
        result
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        if !state.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut names = BTreeSet::new();
        for inside in state.names.keys().filter_map(|file| file.strip_prefix(path).ok()) {
            names.extend(inside.iter().next().map(|name| name.to_string_lossy().into_owned()));
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = self.state.lock();
        Ok(state.names.get(path).map(|id| state.files[id].seen.clone()))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.made += 1;
        let id = state.made;
        state.files.insert(id, Contents::default());
        state.rename_names(NameChange::Link(path.to_owned(), id), path)?;
        Ok(Box::new(SimFile { state: self.state.clone(), id, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = *self.state.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { state: self.state.clone(), id, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_names(NameChange::Rename(from.to_owned(), to.to_owned()), to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_names(NameChange::Remove(path.to_owned()), path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let inside: Vec<PathBuf> = {
            let state = self.state.lock();
            state.names.keys().filter(|file| file.starts_with(path)).cloned().collect()
        };
        inside.iter().try_for_each(|file| self.remove(file))
    }
}
