//! What something writes, as far as it was written lately: the end of a file, or what comes from a pipe meanwhile.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How much of the end of a file is searched.
const TAIL_BYTES_MAX: u64 = 64 << 20;
/// How much of a pipe is kept, at least.
const PIPE_BYTES_MAX: usize = 16 << 20;

/// Where something is written.
pub(super) struct Log {
    pub(super) name: String,
    place: Place,
}

enum Place {
    File(PathBuf),
    /// Standard input or a named pipe, read by a thread of its own.
    Pipe(Arc<Mutex<Vec<u8>>>),
}

impl Log {
    /// A file, a pipe, or standard input as `-`. A pipe is read from now on.
    pub(super) fn open(path: &Path) -> Self {
        if path == Path::new("-") {
            return Self { name: "standard input".to_owned(), place: Place::Pipe(gather(|| Ok(io::stdin()))) };
        }
        let path = path.to_owned();
        let name = format!("`{}`", path.display());
        let place = match std::fs::metadata(&path) {
            // A named pipe opens when somebody writes into it.
            Ok(metadata) if !metadata.is_file() => Place::Pipe(gather(|| File::open(path))),
            // Some logs begin to be with the first request.
            Ok(_) | Err(_) => Place::File(path),
        };
        Self { name, place }
    }

    /// Whether more may come than there is.
    pub(super) const fn is_pipe(&self) -> bool {
        matches!(self.place, Place::Pipe(_))
    }

    /// What is there now.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        match &self.place {
            Place::File(path) => tail(path).map_err(|error| error.to_string()),
            Place::Pipe(gathered) => Ok(gathered.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }
}

/// Reads a pipe to its end, or to the end of the process.
fn gather<R: Read>(open: impl FnOnce() -> io::Result<R> + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let gathered = Arc::<Mutex<Vec<u8>>>::default();
    let taken = Arc::clone(&gathered);
    thread::spawn(move || {
        let Ok(mut pipe) = open() else { return };
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let mut gathered = taken.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let beyond = gathered.len().saturating_sub(PIPE_BYTES_MAX);
            // Seldom, because the rest is moved.
            if beyond > PIPE_BYTES_MAX {
                gathered.drain(..beyond);
            }
        }
    });
    gathered
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_asked_for_and_one_that_is_missing_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "before").unwrap();
        let log = Log::open(&path);
        std::fs::write(&path, "after").unwrap();
        assert_eq!((log.read(), log.is_pipe()), (Ok(b"after".to_vec()), false));
        assert!(Log::open(&folder.path().join("missing")).read().is_err());
    }

    #[test]
    fn a_pipe_is_read_while_something_is_written_and_its_end_is_kept() {
        let text = [vec![b'x'; 3 * PIPE_BYTES_MAX], b"the end".to_vec()].concat();
        let gathered = gather(|| Ok(io::Cursor::new(text)));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !gathered.lock().unwrap().ends_with(b"the end") {
            assert!(Instant::now() < deadline, "it is not read to its end");
            thread::yield_now();
        }
        assert!((PIPE_BYTES_MAX..=2 * PIPE_BYTES_MAX + (64 << 10)).contains(&gathered.lock().unwrap().len()));
    }
}
