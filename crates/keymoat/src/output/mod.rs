//! Everything that is written while serving goes through one thread with a bounded queue, onto standard error.
//!
//! A terminal that does not read must not stop the gateway: what does not fit into the queue is dropped, counted, and
//! the count is written as soon as there is room again.

pub(crate) mod diagnostics;
pub(crate) mod panic;
pub(crate) mod record;
pub(crate) mod time;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use keymoat_core::{Record, UnixMillis};

use crate::config::LogFormat;

/// How many lines may wait to be written.
const QUEUE_LINES: usize = 8_192;

/// How long the end of the process waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// A handle to the writing thread; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
    format: LogFormat,
}

#[derive(Debug)]
enum Item {
    Record(Box<Record>),
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Output {
    /// Starts the thread that writes to standard error. Without a `format` a terminal gets columns, a file gets JSON.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(format: Option<LogFormat>) -> io::Result<Self> {
        let of_terminal = || if io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json };
        Self::start_with(format.unwrap_or_else(of_terminal), anstream::AutoStream::auto(io::stderr()))
    }

    fn start_with(format: LogFormat, to: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = mpsc::sync_channel(QUEUE_LINES);
        let output = Self { queue, dropped: Arc::new(AtomicU64::new(0)), format };
        let dropped = Arc::clone(&output.dropped);
        thread::Builder::new().name("output".into()).spawn(move || write_all(&items, &dropped, format, to))?;
        Ok(output)
    }

    /// The form of the lines.
    pub(crate) fn format(&self) -> LogFormat {
        self.format
    }

    /// Writes a record. It is put into words on the writing thread, not here.
    pub(crate) fn record(&self, record: &Record) {
        self.send(Item::Record(Box::new(record.clone())));
    }

    /// Waits until everything that was sent is written, or gives up soon.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT;
        let (done, written) = mpsc::sync_channel(1);
        let mut item = Item::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.queue.try_send(item) {
            if Instant::now() >= deadline {
                return;
            }
            item = refused;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    fn send(&self, item: Item) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(item) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(items: &Receiver<Item>, dropped: &AtomicU64, format: LogFormat, mut to: impl Write) {
    while let Ok(item) = items.recv() {
        // A failed write has nowhere to be reported: it counts as a dropped line, and the next write tells.
        let written = match item {
            Item::Line(line) => to.write_all(&line),
            Item::Record(record) => to.write_all(record::line(&record, format).as_bytes()),
            Item::Flush(done) => {
                let flushed = to.flush();
                let _ = done.try_send(());
                flushed
            }
        };
        if written.is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 && to.write_all(dropped_line(count, format).as_bytes()).is_err() {
            dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

fn dropped_line(count: u64, format: LogFormat) -> String {
    let now = time::rfc3339(time::now());
    match format {
        LogFormat::Json => {
            format!("{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"event\":\"lines_dropped\",\"count\":{count}}}\n")
        }
        LogFormat::Human => format!("{now}  WARN {count} lines were dropped: the output does not keep up\n"),
    }
}

/// The moment of a line that is no record.
#[derive(Clone, Copy, Debug)]
struct Now;

impl tracing_subscriber::fmt::time::FormatTime for Now {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let now: UnixMillis = time::now();
        w.write_str(&time::rfc3339(now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use keymoat_core::record::Protocol;

    use super::*;

    /// A place to write that waits until it is let go on.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic holds it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_count_is_written() {
        let page = Page::default();
        let output = Output::start_with(LogFormat::Json, page.clone()).expect("a thread");
        let sent = QUEUE_LINES + 100;
        let at = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1);
        {
            // While the page is held, the writing thread waits with one line in its hand.
            let _held = page.0.lock().expect("free");
            (0..sent).for_each(|_| output.record(&at));
        }
        output.flush();
        output.flush();
        let text = String::from_utf8(page.0.lock().expect("free").clone()).expect("text");
        let records = text.lines().filter(|line| line.contains("\"event\":\"request\"")).count();
        let reported: usize = text
            .lines()
            .filter_map(|line| line.split_once("\"event\":\"lines_dropped\",\"count\":"))
            .filter_map(|(_, count)| count.trim_end_matches('}').parse::<usize>().ok())
            .sum();
        assert!(reported >= 99, "{reported}");
        assert_eq!(records + reported, sent);
    }
}
