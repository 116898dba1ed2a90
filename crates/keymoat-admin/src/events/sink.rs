//! Where events go beside the store: each place has a thread and a bounded queue of its own, so that one that is blocked
//! loses only its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Instant;

use keymoat_core::UnixMillis;
use keymoat_core::event::{Kind, Sink};

use super::Losses;
use crate::queue::Queue;

/// How many events may wait for one sink.
pub(super) const SINK_QUEUE_MAX: usize = 8_192;

/// A file that has grown to so many bytes is moved to `NAME.1`, in place of the one before.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// An event as it is given to sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What sort of event it is.
    pub kind: Kind,
    /// When it was written down.
    pub at: UnixMillis,
    /// One JSON object, masked; with its number, if the store has it.
    pub line: String,
}

/// Something for a sink's thread.
#[derive(Debug)]
pub(crate) enum Line {
    Told(Arc<Told>),
    Flush(SyncSender<()>),
}

/// One place where events go. With the last clone its thread writes what is left and ends.
#[derive(Clone, Debug)]
pub struct LineSink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sink: Sink,
    queue: Arc<Queue<Line>>,
    reopen: Arc<AtomicBool>,
}

impl LineSink {
    /// A sink whose thread calls `write` with each group of events, and whether files are to be opened anew; `write`
    /// gives how many of the group were lost.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        sink: Sink,
        lost: Arc<Losses>,
        mut write: impl FnMut(&[Arc<Told>], bool) -> u64 + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(SINK_QUEUE_MAX));
        let reopen = Arc::<AtomicBool>::default();
        let inner = Inner { sink, queue: Arc::clone(&queue), reopen: Arc::clone(&reopen) };
        let mut write_group = move |group: &mut Vec<Arc<Told>>| {
            if !group.is_empty() {
                // The word of a loss that is lost itself is not counted: it would never come to an end.
                let counted = group.iter().filter(|told| told.kind != Kind::Lost).count() as u64;
                lost.add(sink, counted.min(write(group, reopen.swap(false, Ordering::Relaxed))));
                group.clear();
            }
        };
        thread::Builder::new().name(format!("events-{}", sink.word())).spawn(move || {
            while let Some(lines) = queue.take() {
                let mut group = Vec::with_capacity(lines.len());
                for line in lines {
                    match line {
                        Line::Told(told) => group.push(told),
                        Line::Flush(done) => {
                            write_group(&mut group);
                            let _ = done.try_send(());
                        }
                    }
                }
                write_group(&mut group);
            }
        })?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A file that gets one JSON object a line, mode 0600. One that was moved away is opened anew.
    ///
    /// # Errors
    /// A file that cannot be written or that others can read, and a system that gives no thread.
    pub fn file(path: PathBuf, lost: Arc<Losses>) -> io::Result<Self> {
        let mut file = Lines::open(path, FILE_BYTES_MAX)?;
        Self::start(Sink::File, lost, move |group, reopen| file.write(group, reopen))
    }

    /// Standard output, which gets one JSON object a line.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn stdout(lost: Arc<Losses>) -> io::Result<Self> {
        Self::start(Sink::Stdout, lost, |group, _| {
            let written = io::stdout().lock().write_all(&page(group));
            if written.is_ok() { 0 } else { group.len() as u64 }
        })
    }

    /// Hands over an event. Never blocks; what does not fit is counted.
    pub(super) fn send(&self, told: &Arc<Told>, lost: &Losses) {
        if self.inner.queue.send(Line::Told(Arc::clone(told))).is_err() && told.kind != Kind::Lost {
            lost.add(self.inner.sink, 1);
        }
    }

    pub(super) fn reopen(&self) {
        self.inner.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until what was handed over is written.
    pub(super) fn flush(&self, deadline: Instant) {
        let (done, written) = mpsc::sync_channel(1);
        if self.inner.queue.send_urgently(Line::Flush(done)).is_ok() {
            let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.end();
    }
}

fn page(group: &[Arc<Told>]) -> Vec<u8> {
    let mut page = Vec::with_capacity(group.iter().map(|told| told.line.len() + 1).sum());
    for told in group {
        page.extend_from_slice(told.line.as_bytes());
        page.push(b'\n');
    }
    page
}

/// A private file of lines.
struct Lines {
    path: PathBuf,
    bytes_max: u64,
    file: Option<File>,
    is_failing: bool,
}

impl Lines {
    fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let file = Some(open_private(&path)?);
        Ok(Self { path, bytes_max, file, is_failing: false })
    }

    /// Gives how many of the group were lost.
    fn write(&mut self, group: &[Arc<Told>], reopen: bool) -> u64 {
        match self.try_write(&page(group), reopen) {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(path = %self.path.display(), "the file of events is written again");
                }
                0
            }
            Err(error) => {
                self.file = None;
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(path = %self.path.display(), %error, "the file of events cannot be written");
                }
                group.len() as u64
            }
        }
    }

    fn try_write(&mut self, page: &[u8], reopen: bool) -> io::Result<()> {
        if reopen || self.was_moved() {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open_private(&self.path)?),
        };
        if file.metadata()?.len().saturating_add(page.len() as u64) > self.bytes_max {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            fs::rename(&self.path, before)?;
            *file = open_private(&self.path)?;
        }
        file.write_all(page)
    }

    /// Whether the path leads to another file than the one that is open, or to none.
    fn was_moved(&self) -> bool {
        let Some(open) = self.file.as_ref().and_then(|file| file.metadata().ok()) else { return true };
        !fs::metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino()))
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode();
    if metadata.is_file() && mode & 0o077 != 0 {
        let text =
            format!("`{}` can be read or written by others (mode {:03o}): chmod 600", path.display(), mode & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;

    fn told(line: &str) -> Arc<Told> {
        Arc::new(Told { kind: Kind::Act, at: UnixMillis(0), line: line.to_owned() })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_file_is_private_and_one_that_was_moved_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("events.jsonl"), dir.path().join("moved"));
        let lost = Arc::<Losses>::default();
        let sink = LineSink::file(path.clone(), lost.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        sink.send(&told("{1}"), &lost);
        sink.flush(soon());
        fs::rename(&path, &moved).unwrap();
        sink.send(&told("{2}"), &lost);
        sink.flush(soon());
        assert_eq!(
            (fs::read_to_string(moved).unwrap(), fs::read_to_string(&path).unwrap()),
            ("{1}\n".into(), "{2}\n".into())
        );
        assert_eq!(lost.of(Sink::File), 0);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = LineSink::file(path, Arc::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_that_has_grown_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut lines = Lines::open(path.clone(), 10).unwrap();
        for line in ["{one}", "{two}", "{three}"] {
            assert_eq!(lines.write(&[told(line)], false), 0);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{three}\n");
        assert_eq!(fs::read_to_string(dir.path().join("events.jsonl.1")).unwrap(), "{two}\n");
    }

    #[test]
    fn what_a_file_cannot_take_is_counted_and_it_goes_on_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        fs::create_dir(&folder).unwrap();
        let mut lines = Lines::open(folder.join("events.jsonl"), 1000).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(lines.write(&[told("{1}"), told("{2}")], false), 2);
        fs::create_dir(&folder).unwrap();
        assert_eq!(lines.write(&[told("{3}")], false), 0);
    }

    #[test]
    fn a_sink_that_is_blocked_loses_only_its_own() {
        let (lost, (go, wait)) = (Arc::<Losses>::default(), mpsc::channel::<()>());
        let blocked = LineSink::start(Sink::Otlp, lost.clone(), move |_, _| {
            let _ = wait.recv();
            0
        });
        let (blocked, (tell, written)) = (blocked.unwrap(), mpsc::channel());
        let open = LineSink::start(Sink::Stdout, lost.clone(), move |group, _| {
            group.iter().for_each(|told| drop(tell.send(told.line.clone())));
            0
        });
        let open = open.unwrap();
        for number in 0..SINK_QUEUE_MAX + 100 {
            blocked.send(&told("{}"), &lost);
            if number < 10 {
                open.send(&told("{}"), &lost);
            }
        }
        open.flush(soon());
        assert_eq!((written.try_iter().count(), lost.of(Sink::Stdout)), (10, 0));
        assert!(lost.of(Sink::Otlp) >= 100, "{}", lost.of(Sink::Otlp));
        drop(go);
    }
}
