//! Files that nobody but their owner may read: written whole or not at all, and refused when others can read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use keymoat_core::Secret;

/// A private file may be this large, in bytes; more is refused unread.
pub const FILE_BYTES_MAX: u64 = 64 << 10;

/// The bits of a mode that nobody but the owner has.
const GROUP_AND_OTHERS: u32 = 0o077;
const GROUP_READ: u32 = 0o040;

/// Why a file was not made or not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The system refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read or write it.
    #[error("`{path}` can be read or written by others (mode {mode:03o}): run `chmod 600 {path}`")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than [`FILE_BYTES_MAX`], or no regular file.
    #[error("`{path}` is not a regular file of at most 64 KiB")]
    Odd {
        /// Which file.
        path: PathBuf,
    },
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Everyone, for what is public: mode 0644.
    Everyone,
}

/// Whether [`create`] made the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It did.
    Now,
    /// The file was there already and is untouched.
    Before,
}

/// Makes the folder, with mode 0700, and its parents. A folder that exists keeps its mode.
///
/// # Errors
/// Whatever the system refuses.
pub fn create_folder(dir: &Path) -> Result<(), PrivateFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create the folder", dir))
}

/// Writes a new file, durably and exclusively: it appears whole, and an existing one is never touched.
///
/// # Errors
/// Whatever the system refuses.
pub fn create(path: &Path, content: &[u8], readers: Readers) -> Result<Created, PrivateFileError> {
    let draft = write_draft(path, content, readers)?;
    let linked = fs::hard_link(&draft, path);
    let removed = fs::remove_file(&draft);
    match linked {
        Err(refused) if refused.kind() == io::ErrorKind::AlreadyExists => return Ok(Created::Before),
        linked => linked.map_err(failed("create", path))?,
    }
    removed.map_err(failed("remove", &draft))?;
    sync_folder_of(path)?;
    Ok(Created::Now)
}

/// Writes a file, durably, in place of the one that may be there: readers see the old or the new one, never a mixture.
///
/// # Errors
/// Whatever the system refuses.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> Result<(), PrivateFileError> {
    let draft = write_draft(path, content, readers)?;
    if let Err(refused) = fs::rename(&draft, path) {
        let _ = fs::remove_file(&draft);
        return Err(failed("replace", path)(refused));
    }
    sync_folder_of(path)
}

/// Reads a file that only its owner can read; `None` when there is none.
///
/// # Errors
/// [`PrivateFileError::Exposed`] when the mode gives anything to group or others, and whatever the system refuses.
pub fn read(path: &Path) -> Result<Option<Secret>, PrivateFileError> {
    read_unless(path, GROUP_AND_OTHERS)
}

/// Reads a credential that systemd put into a service's own folder; `None` when there is none.
///
/// Under `User=` systemd lets the user in by an access control list, whose mask shows as the mode's group bits: 0440.
///
/// # Errors
/// [`PrivateFileError::Exposed`] when others can read it or the group can write it, and whatever the system refuses.
pub fn read_credential(path: &Path) -> Result<Option<Secret>, PrivateFileError> {
    read_unless(path, GROUP_AND_OTHERS & !GROUP_READ)
}

fn read_unless(path: &Path, exposed: u32) -> Result<Option<Secret>, PrivateFileError> {
    let file = match File::open(path) {
        Err(refused) if refused.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    let metadata = file.metadata().map_err(failed("read the mode of", path))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(PrivateFileError::Odd { path: path.to_owned() });
    }
    refuse_exposed(path, &metadata, exposed)?;
    // The whole room at once: a buffer that grows leaves copies behind.
    let mut content = Vec::with_capacity(FILE_BYTES_MAX as usize);
    let outcome = file.take(FILE_BYTES_MAX).read_to_end(&mut content);
    let content = Secret::new(content);
    outcome.map_err(failed("read", path))?;
    Ok(Some(content))
}

/// Refuses a file whose mode gives anything to group or others.
///
/// # Errors
/// [`PrivateFileError::Exposed`], or whatever the system refuses.
pub fn check(path: &Path) -> Result<(), PrivateFileError> {
    let metadata = fs::metadata(path).map_err(failed("read the mode of", path))?;
    refuse_exposed(path, &metadata, GROUP_AND_OTHERS)
}

fn refuse_exposed(path: &Path, metadata: &fs::Metadata, exposed: u32) -> Result<(), PrivateFileError> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & exposed == 0 { Ok(()) } else { Err(PrivateFileError::Exposed { path: path.to_owned(), mode }) }
}

/// Writes and syncs the content under a name beside `path` that nobody else draws.
fn write_draft(path: &Path, content: &[u8], readers: Readers) -> Result<PathBuf, PrivateFileError> {
    let draft = draft_path(path).map_err(failed("name a draft of", path))?;
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everyone => 0o644,
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).map_err(failed("create", &draft))?;
    if let Err(refused) = file.write_all(content).and_then(|()| file.sync_all()) {
        let _ = fs::remove_file(&draft);
        return Err(failed("write", path)(refused));
    }
    Ok(draft)
}

fn draft_path(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{:016x}", u64::from_ne_bytes(random))))
}

/// Makes the file's name as durable as its content.
fn sync_folder_of(path: &Path) -> Result<(), PrivateFileError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the folder", dir))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn creates_once_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        assert_eq!(create(&path, b"one", Readers::Owner).unwrap(), Created::Now);
        assert_eq!(create(&path, b"two", Readers::Owner).unwrap(), Created::Before);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three", Readers::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn refuses_what_others_can_read_and_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        create(&path, b"one", Readers::Owner).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let text = read(&path).unwrap_err().to_string();
            assert!(text.contains("run `chmod 600 "), "{text}");
            assert!(check(&path).is_err());
        }
    }

    #[test]
    fn a_credential_of_systemd_may_show_the_group_bit_of_its_access_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keymoat-master-key");
        create(&path, b"one", Readers::Owner).unwrap();
        for (mode, good) in [(0o400, true), (0o440, true), (0o444, false), (0o460, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_credential(&path).is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn refuses_a_file_without_end() {
        assert!(matches!(read(Path::new("/dev/zero")), Err(PrivateFileError::Odd { .. })));
    }
}
