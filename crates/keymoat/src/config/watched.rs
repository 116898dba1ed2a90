//! The files that a configuration was read from, and whether one of them has changed since.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long a changed file must stay as it is before it counts as written.
const SETTLE: Duration = Duration::from_millis(100);

/// How often it is waited for files that do not come to rest.
const SETTLE_LOOKS_MAX: usize = 10;

/// Files with the marks that they had when they were read. Contents are never kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched(BTreeMap<PathBuf, Option<Mark>>);

/// What changes with a file's content, whether it is written to, replaced, or a link is turned to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    /// Notes a file that is about to be read: what changes from here on shows.
    pub(crate) fn note(&mut self, path: &Path) {
        self.0.entry(path.to_owned()).or_insert_with(|| Mark::of(path));
    }

    /// Takes over the files of another read; its marks are the newer ones.
    pub(crate) fn join(&mut self, later: &Self) {
        self.0.extend(later.0.iter().map(|(path, mark)| (path.clone(), *mark)));
    }

    /// Whether a file is another one than it was, or has come or gone. The next question starts from what is there now.
    ///
    /// Waits for a moment until a file that is being written has come to rest.
    pub(crate) fn has_changed(&mut self) -> bool {
        let mut now = self.looked_at();
        if now == *self {
            return false;
        }
        for _ in 0..SETTLE_LOOKS_MAX {
            thread::sleep(SETTLE);
            let again = now.looked_at();
            if again == now {
                break;
            }
            now = again;
        }
        *self = now;
        true
    }

    /// The same files with the marks of this moment.
    pub(crate) fn looked_at(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Mark::of(path))).collect())
    }
}

impl Mark {
    /// The mark of the file that `path` leads to, or `None` if there is none that can be seen.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_removed_or_made_has_changed_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::default();
        watched.note(&path);
        watched.note(&other);
        assert!(!watched.has_changed());
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "three").unwrap(),
            &|| fs::rename(&path, &other).unwrap(),
            &|| fs::write(&path, "again").unwrap(),
            &|| fs::remove_file(&other).unwrap(),
        ];
        for change in changes {
            change();
            assert!(watched.has_changed());
            assert!(!watched.has_changed());
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        for name in ["one", "two"] {
            fs::write(dir.path().join(name), "same").unwrap();
        }
        symlink("one", &link).unwrap();
        let mut watched = Watched::default();
        watched.note(&link);
        symlink("two", dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &link).unwrap();
        assert!(watched.has_changed());
    }
}
