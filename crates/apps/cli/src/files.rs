//! Files, standard input and standard output: read within limits, written whole or not at all, never over something by
//! accident.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use keyreeve_secret::{SecretBuffer, SecretBytes, SecretString};
use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};

/// Both standard input and standard output.
const DASH: &str = "-";
/// The longest line with a secret, in bytes.
const LINE_MAX: u64 = 4096;

/// The unfinished outputs, to be removed when somebody presses Ctrl-C.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes what an interrupted command has begun to write.
pub(crate) fn remove_unfinished() {
    for path in unfinished().drain(..) {
        // Nothing better can be done about it on the way out.
        let _ = std::fs::remove_file(path);
    }
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// `-` and nothing at all are standard input.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        match path {
            Some(path) if path != Path::new(DASH) => Self::File(path.to_owned()),
            _ => Self::Stdin,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdin => None,
            Self::File(path) => Some(path),
        }
    }

    /// The stream, and its length where that is known.
    pub(crate) fn open(&self) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
        match self {
            Self::Stdin => {
                if io::stdin().is_terminal() {
                    let _ = writeln!(io::stderr(), "reading from the terminal: end with Ctrl-D");
                }
                Ok((Box::new(io::stdin()), None))
            }
            Self::File(path) => {
                let file = open(path)?;
                let metadata = file.metadata().map_err(|error| Failure::io(path.display(), &error))?;
                Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
            }
        }
    }

    /// Everything, if it is not more than `max` bytes.
    pub(crate) fn read(&self, max: usize) -> Result<SecretBytes, Failure> {
        let (reader, _) = self.open()?;
        read_limited(reader, &self.name(), max)
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(Failure::usage(format!("{} is a directory", path.display()))),
        _ => Ok(file),
    }
}

/// Reads to the end, into memory that is wiped.
pub(crate) fn read_limited(reader: impl Read, name: &str, max: usize) -> Result<SecretBytes, Failure> {
    let mut bytes = SecretBuffer::with_capacity(4096);
    // One byte more than allowed tells that it is too long.
    let mut limited = reader.take(max as u64 + 1);
    let mut piece = SecretBytes::init_with(64 * 1024, |_| ());
    loop {
        match limited.read(piece.expose_mut()) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&piece.expose()[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io(name, &error)),
        }
    }
    if bytes.len() > max {
        return Err(Failure::usage(format!("{name} has more than {max} bytes")));
    }
    Ok(bytes.finish())
}

/// A file that is no secret.
pub(crate) fn read_all(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let bytes = read_limited(open(path)?, &path.display().to_string(), max)?;
    Ok(bytes.declassify("the caller reads only what is no secret this way"))
}

/// A file that is a secret.
pub(crate) fn read_secret(path: &Path, max: usize) -> Result<SecretBytes, Failure> {
    read_limited(open(path)?, &path.display().to_string(), max)
}

/// A secret text in a file, without the space around it.
pub(crate) fn read_secret_text(path: &Path, max: usize) -> Result<SecretString, Failure> {
    let text = SecretString::from_utf8(read_secret(path, max)?)
        .map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
    Ok(SecretString::copy_from(text.expose().trim()))
}

/// Asks on the terminal, without echo. Without a terminal it reads a line of standard input.
pub(crate) fn ask_secret(prompt: &str) -> Result<SecretString, Failure> {
    if !io::stdin().is_terminal() {
        return secret_line(io::stdin().lock());
    }
    let typed = rpassword::prompt_password(prompt).map(SecretString::from);
    let typed = typed.map_err(|error| match error.kind() {
        // The terminal gives no signal while it is read without echo.
        io::ErrorKind::Interrupted => Failure::new(Exit::Interrupted, "interrupted"),
        _ => Failure::io("the terminal", &error),
    })?;
    Ok(SecretString::copy_from(typed.expose().trim()))
}

/// One line, into memory that is wiped. An empty one where there is nothing.
fn secret_line(reader: impl BufRead) -> Result<SecretString, Failure> {
    let mut line = SecretBuffer::with_capacity(256);
    for byte in reader.take(LINE_MAX).bytes() {
        match byte.map_err(|error| Failure::io("standard input", &error))? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let text = SecretString::from_utf8(line.finish()).map_err(|_| Failure::usage("standard input is not text"))?;
    Ok(SecretString::copy_from(text.expose().trim()))
}

/// Refuses a file with a secret that others may read.
pub(crate) fn check_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| Failure::io(path.display(), &error))?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        let path = path.display();
        return Err(
            Failure::usage(format!("{path} holds a secret and others may read it")).next(format!("chmod 600 {path}"))
        );
    }
    Ok(())
}

/// Who may read an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Whoever the process's mask lets.
    Anybody,
    /// The owner: plaintext and keys.
    Owner,
    /// Whoever could read the file that is replaced: its permission bits.
    As(u32),
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    /// It is replaced.
    Yes,
    /// It stays; with `--force` it would be replaced.
    WithForce,
    /// It stays.
    Never,
}

/// Where output goes.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Stdout,
    File { path: PathBuf, replace: Replace },
}

impl Sink {
    /// `-` is standard output.
    pub(crate) fn of(path: &Path, force: bool) -> Self {
        let replace = if force { Replace::Yes } else { Replace::WithForce };
        if path == Path::new(DASH) { Self::Stdout } else { Self::File { path: path.to_owned(), replace } }
    }

    /// A file that must be new: for commands that replace none.
    pub(crate) fn new_file(path: &Path) -> Self {
        Self::File { path: path.to_owned(), replace: Replace::Never }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Begins the output. Refuses at once what would be refused at the end.
    pub(crate) fn create(&self, readers: Readers) -> Result<Output, Failure> {
        let Self::File { path, replace } = self else { return Ok(Output::Stdout(io::stdout())) };
        match std::fs::metadata(path) {
            // Devices and pipes are written to: renaming something over them would remove them.
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
                let file =
                    File::options().write(true).open(path).map_err(|error| Failure::io(path.display(), &error))?;
                return Ok(Output::Special(file));
            }
            Ok(metadata) if metadata.is_dir() => {
                return Err(Failure::usage(format!("{} is a directory", path.display())));
            }
            Ok(_) if *replace != Replace::Yes => return Err(exists(path, *replace)),
            _ => {}
        }
        Output::temporary(path, *replace, readers)
    }

    /// Writes something small.
    pub(crate) fn write(&self, bytes: &[u8], readers: Readers) -> Result<(), Failure> {
        let mut output = self.create(readers)?;
        output.write_all(bytes).map_err(|error| Failure::io(self.name(), &error))?;
        output.finish()
    }
}

fn exists(path: &Path, replace: Replace) -> Failure {
    let next = match replace {
        Replace::Yes | Replace::WithForce => "`--force` replaces it",
        Replace::Never => "name another place: nothing is replaced here",
    };
    Failure::usage(format!("{} exists already", path.display())).next(next)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes names last: a file on the disk whose name is not is lost in a power failure.
fn sync_folder(folder: &Path) -> Result<(), Failure> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems know no such thing, and some directories may be written to but not read.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) => Ok(()),
        done => done.map_err(|error| Failure::io(folder.display(), &error)),
    }
}

/// An output in the making. Dropped before [`Output::finish`], a file leaves nothing behind.
pub(crate) enum Output {
    Stdout(io::Stdout),
    Special(File),
    Temporary { file: NamedTempFile, path: PathBuf, replace: Replace },
}

impl Output {
    fn temporary(path: &Path, replace: Replace, readers: Readers) -> Result<Self, Failure> {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder_of(path);
        let mode = match readers {
            Readers::Anybody => 0o666,
            Readers::Owner | Readers::As(_) => 0o600,
        };
        let file = tempfile::Builder::new()
            .prefix(".keyreeve-")
            .permissions(std::fs::Permissions::from_mode(mode))
            .tempfile_in(folder)
            .map_err(|error| Failure::io(folder.display(), &error))?;
        if let Readers::As(mode) = readers {
            // Given afterwards: at the creation the process's mask would take from it.
            let kept = file.as_file().set_permissions(std::fs::Permissions::from_mode(mode & 0o777));
            kept.map_err(|error| Failure::io(path.display(), &error))?;
        }
        unfinished().push(file.path().to_owned());
        Ok(Self::Temporary { file, path: path.to_owned(), replace })
    }

    /// Makes the output last: flushed, on the disk, under its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut out) => out.flush().map_err(|error| Failure::io("standard output", &error)),
            Self::Special(mut file) => file.flush().map_err(|error| Failure::io("the output", &error)),
            Self::Temporary { file, path, replace } => {
                file.as_file().sync_all().map_err(|error| Failure::io(path.display(), &error))?;
                let temporary = file.path().to_owned();
                let force = replace == Replace::Yes;
                let kept = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
                unfinished().retain(|other| *other != temporary);
                kept.map_err(|error| match error.error.kind() {
                    io::ErrorKind::AlreadyExists => exists(&path, replace),
                    _ => Failure::io(path.display(), &error.error),
                })?;
                sync_folder(folder_of(&path))
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Special(file) => file.write(bytes),
            Self::Temporary { file, .. } => file.as_file_mut().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Special(file) => file.flush(),
            Self::Temporary { file, .. } => file.as_file_mut().flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn left_in(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_output_that_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::of(&dir.path().join("out"), false);
        let mut output = sink.create(Readers::Owner).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert!(left_in(dir.path()).is_empty());
    }

    #[test]
    fn nothing_is_replaced_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        Sink::of(&path, false).write(b"one", Readers::Owner).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let failure = Sink::of(&path, false).write(b"two", Readers::Owner).unwrap_err();
        assert!(failure.next.unwrap().contains("--force"));
        let failure = Sink::new_file(&path).write(b"two", Readers::Owner).unwrap_err();
        assert!(!failure.next.unwrap().contains("--force"), "there is no such option where nothing is replaced");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        Sink::of(&path, true).write(b"two", Readers::Owner).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(left_in(dir.path()), ["out"]);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for mode in [0o600, 0o666, 0o440] {
            Sink::of(&path, true).write(b"x", Readers::As(0o100_000 | mode)).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn devices_are_written_to_and_not_replaced() {
        Sink::of(Path::new("/dev/null"), true).write(b"gone", Readers::Owner).unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn inputs_are_limited() {
        assert_eq!(read_limited(&b"1234"[..], "it", 4).unwrap().len(), 4);
        assert!(read_limited(&b"12345"[..], "it", 4).unwrap_err().what.contains("more than 4 bytes"));
        assert!(Source::of(Some(Path::new("/"))).read(10).unwrap_err().what.contains("directory"));
    }

    #[test]
    fn secrets_are_read_line_by_line() {
        let mut input = &b"  krs-one \r\nkrs-two"[..];
        assert!(secret_line(&mut input).unwrap().ct_eq("krs-one"));
        assert!(secret_line(&mut input).unwrap().ct_eq("krs-two"));
        assert!(secret_line(&mut input).unwrap().is_empty());
    }

    #[test]
    fn a_dash_is_standard_input_and_output() {
        assert_eq!(Source::of(None), Source::Stdin);
        assert_eq!(Source::of(Some(Path::new("-"))), Source::Stdin);
        assert!(!Sink::of(Path::new("-"), false).is_file());
    }
}
