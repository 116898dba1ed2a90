//! Everything that is written while serving goes through one thread with a bounded queue, onto standard error.
//!
//! A terminal that does not read must not stop the gateway: what does not fit into the queue is dropped, counted, and
//! the count is written as soon as there is room again. The last thing before a write is the redactor: whatever a line
//! holds that looks like a credential, also by the configuration's own rules, or is one of the secrets in use, is masked
//! there, wherever it came from.

pub(crate) mod diagnostics;
mod kept;
pub(crate) mod panic;
pub(crate) mod record;
pub(crate) mod time;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keymoat_admin::queue::Queue;
use keymoat_core::event::Written;
use keymoat_core::{Record, Secret, UnixMillis};
use keymoat_redact::{KnownSecrets, Options, Redactor, Rules};

use self::kept::Kept;
use crate::config::LogFormat;

/// How many lines may wait to be written.
const QUEUE_LINES: usize = 8_192;

/// So much is written at once, as far as it is there.
const WRITE_BYTES: usize = 64 << 10;

/// How long the end of the process waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// A handle to the writing thread; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    shared: Arc<Shared>,
    format: LogFormat,
}

/// What all handles share. When the last of them is gone, the thread writes what is left and ends.
#[derive(Debug)]
struct Shared {
    queue: Arc<Queue<Item>>,
    dropped: Arc<AtomicU64>,
    known: KnownSecrets,
    kept: Mutex<Kept>,
    rules: Arc<ArcSwap<Rules>>,
}

#[derive(Debug)]
enum Item {
    Record(Arc<Record>),
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
        match format.unwrap_or_else(of_terminal) {
            // Nothing in it is coloured, so nothing has to look for colours.
            LogFormat::Json => Self::start_with(LogFormat::Json, io::stderr()),
            LogFormat::Human => Self::start_with(LogFormat::Human, anstream::AutoStream::auto(io::stderr())),
        }
    }

    fn start_with(format: LogFormat, to: impl Write + Send + 'static) -> io::Result<Self> {
        let known = KnownSecrets::default();
        let shared = Shared {
            queue: Arc::new(Queue::new(QUEUE_LINES)),
            dropped: Arc::default(),
            known: known.clone(),
            kept: Mutex::default(),
            rules: Arc::default(),
        };
        let (queue, dropped) = (Arc::clone(&shared.queue), Arc::clone(&shared.dropped));
        let masker = Masker::new(Arc::clone(&shared.rules), known);
        thread::Builder::new().name("output".into()).spawn(move || write_all(&queue, &dropped, format, to, masker))?;
        Ok(Self { shared: Arc::new(shared), format })
    }

    /// How many lines were dropped since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// The rules that every line is masked by, for others who write.
    pub(crate) fn rules(&self) -> Arc<ArcSwap<Rules>> {
        Arc::clone(&self.shared.rules)
    }

    /// Keeps these secrets out of every line that is written from now on, in whatever spelling, and those of before as well.
    pub(crate) fn keep_out(&self, secrets: Vec<Secret>) {
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.known.replace(kept.replace(secrets));
    }

    /// Masks by these rules in every line that is written from now on.
    pub(crate) fn mask_by(&self, rules: Rules) {
        self.shared.rules.store(Arc::new(rules));
    }

    /// The secrets that are kept out, for others who write.
    pub(crate) fn known(&self) -> KnownSecrets {
        self.shared.known.clone()
    }

    /// The form of the lines.
    pub(crate) fn format(&self) -> LogFormat {
        self.format
    }

    /// Writes a record. It is put into words on the writing thread, not here.
    pub(crate) fn record(&self, record: Arc<Record>) {
        self.send(Item::Record(record));
    }

    /// Waits until everything that was sent is written, or gives up soon.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT;
        let (done, written) = mpsc::sync_channel(1);
        let mut item = Item::Flush(done);
        while let Err(refused) = self.shared.queue.send_urgently(item) {
            if Instant::now() >= deadline {
                return;
            }
            item = refused;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    fn send(&self, item: Item) {
        if self.shared.queue.send(item).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.end();
    }
}

fn write_all(queue: &Queue<Item>, dropped: &AtomicU64, format: LogFormat, to: impl Write, masker: Masker) {
    let mut page = Page { to, text: Vec::new(), masked: Vec::new(), lines: 0, dropped, masker };
    let mut told = 0;
    while let Some(items) = queue.take() {
        for item in items {
            match item {
                Item::Line(line) => page.add(&line),
                Item::Record(record) => page.add_record(&record::line(&record, format)),
                Item::Flush(done) => {
                    page.write();
                    let _ = page.to.flush();
                    let _ = done.try_send(());
                }
            }
        }
        page.write();
        let all = dropped.load(Ordering::Relaxed);
        if all > told {
            page.add(dropped_line(all - told, format).as_bytes());
            // It is given again until it was written, and is no loss itself.
            page.lines = 0;
            if page.write() {
                told = all;
            }
        }
        // An idle gateway does not keep what a busy one needed.
        (page.text, page.masked) = (Vec::new(), Vec::new());
    }
}

/// Lines that are written at once.
struct Page<'a, W> {
    to: W,
    /// Lines that have not been looked at.
    text: Vec<u8>,
    /// The lines before them, as they are written.
    masked: Vec<u8>,
    lines: u64,
    dropped: &'a AtomicU64,
    masker: Masker,
}

impl<W: Write> Page<'_, W> {
    fn add(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.added();
    }

    /// A record, of which only what is not our own has to be looked at.
    fn add_record(&mut self, line: &Written) {
        let is_clean = line.outside.as_ref().is_some_and(|outside| self.masker.are_clean(outside.as_bytes()));
        if !is_clean || self.mask().is_err() || self.masker.redactor.is_amid() {
            return self.add(line.text.as_bytes());
        }
        self.masked.extend_from_slice(line.text.as_bytes());
        self.added();
    }

    fn added(&mut self) {
        self.lines += 1;
        if self.text.len() + self.masked.len() >= WRITE_BYTES {
            self.write();
        }
    }

    /// A failed write has nowhere to be reported: its lines count as dropped, and the next write tells. Says whether all
    /// is well.
    fn write(&mut self) -> bool {
        let is_empty = self.text.is_empty() && self.masked.is_empty();
        let is_written = is_empty || self.write_masked().is_ok();
        if !is_written {
            self.dropped.fetch_add(self.lines, Ordering::Relaxed);
        }
        self.text.clear();
        self.masked.clear();
        self.lines = 0;
        is_written
    }

    fn write_masked(&mut self) -> io::Result<()> {
        self.mask()?;
        self.masker.redactor.finish(&mut self.masked)?;
        self.to.write_all(&self.masked)
    }

    /// Looks at what was not looked at.
    fn mask(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            self.masker.mask(&self.text, &mut self.masked)?;
            self.text.clear();
        }
        Ok(())
    }
}

/// The redactor, by the rules in force.
struct Masker {
    rules: Arc<ArcSwap<Rules>>,
    /// Those that the redactor has.
    taken: Arc<Rules>,
    known: KnownSecrets,
    redactor: Redactor,
}

impl Masker {
    fn new(rules: Arc<ArcSwap<Rules>>, known: KnownSecrets) -> Self {
        let taken = rules.load_full();
        let redactor = Self::redactor(&taken, &known);
        Self { rules, taken, known, redactor }
    }

    fn redactor(rules: &Arc<Rules>, known: &KnownSecrets) -> Redactor {
        Redactor::new(Arc::clone(rules), Options { known: known.clone(), ..Options::default() })
    }

    /// Puts `text` behind `masked`. Every line of it is whole, so nothing is held back for the next one.
    fn mask(&mut self, text: &[u8], masked: &mut Vec<u8>) -> io::Result<()> {
        self.follow_rules();
        self.redactor.write(text, masked)
    }

    /// Whether nothing in these values has to be masked.
    fn are_clean(&mut self, values: &[u8]) -> bool {
        self.follow_rules();
        self.redactor.are_clean(values)
    }

    fn follow_rules(&mut self) {
        let rules = self.rules.load();
        if !Arc::ptr_eq(&rules, &self.taken) {
            self.taken = Arc::clone(&rules);
            self.redactor = Self::redactor(&rules, &self.known);
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
    struct Held(Arc<Mutex<Vec<u8>>>);

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic holds it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_no_line_may_hold_is_masked_in_the_writer_and_the_rest_is_left_as_it_is() {
        let page = Held::default();
        let output = Output::start_with(LogFormat::Json, page.clone()).expect("a thread");
        output.keep_out(vec![Secret::from("a-secret-in-use")]);
        let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::WebSocket);
        record.key_id = Some("key_0123456789abcdefghij".into());
        record.token_id = Some("tok_0123456789abcdefghij".into());
        record.carrier = Some(keymoat_core::Carrier::Query("api_key".into()));
        record.path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent".to_owned();
        record.cause =
            Some("long-lived key in query parameter `api_key`: key `key_1` lacks the scope `mint`".to_owned());
        let clean = record::line(&record, LogFormat::Json).text;
        output.record(Arc::new(record));
        for leak in ["the answer was a-secret-in-use", "GET /x?api_key=Zk7Qw2Lr9TnXb4Vm&a=1", "%61-secret%2Din-use"] {
            output.send(Item::Line(format!("{leak}\n").into_bytes()));
        }
        output.flush();
        let text = String::from_utf8(page.0.lock().expect("free").clone()).expect("text");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(clean.trim_end()));
        assert_eq!(lines.next(), Some("the answer was [REDACTED:known]"));
        assert_eq!(lines.next(), Some("GET /x?api_key=[REDACTED:api_key]&a=1"));
        assert!(!text.contains("in-use") && !text.contains("in%2Duse"), "{text}");
    }

    #[test]
    fn rules_and_secrets_are_replaced_while_lines_are_written_and_former_secrets_stay_masked() {
        let page = Held::default();
        let output = Output::start_with(LogFormat::Json, page.clone()).expect("a thread");
        let write = |line: &str| {
            output.send(Item::Line(format!("{line}\n").into_bytes()));
            output.flush();
            std::mem::take(&mut *page.0.lock().expect("free"))
        };
        let line = "BDG-123456 first-real-key second-real-key";
        output.keep_out(vec![Secret::from("first-real-key")]);
        assert_eq!(write(line), b"BDG-123456 [REDACTED:known] second-real-key\n");
        output.keep_out(vec![Secret::from("second-real-key")]);
        let pattern = keymoat_redact::Pattern { name: "badge".into(), regex: "BDG-[0-9]{6}".into() };
        // What is allowed is no credential by its form; a secret in use is one all the same.
        let allow = vec!["first-real-key".into(), "second-real-key".into()];
        let custom = keymoat_redact::Custom { patterns: vec![pattern], allow, ..keymoat_redact::Custom::default() };
        output.mask_by(Rules::new(&custom).expect("good rules"));
        assert_eq!(write(line), b"[REDACTED:badge] [REDACTED:known] [REDACTED:known]\n");
        output.keep_out(Vec::new());
        assert_eq!(write(line), b"[REDACTED:badge] [REDACTED:known] [REDACTED:known]\n");
    }

    #[test]
    fn what_goes_on_over_several_lines_is_masked_among_records() {
        let page = Held::default();
        let output = Output::start_with(LogFormat::Json, page.clone()).expect("a thread");
        let record = Arc::new(Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1));
        output.record(Arc::clone(&record));
        output.send(Item::Line(b"-----BEGIN PRIVATE KEY-----\n".to_vec()));
        output.send(Item::Line(b"Zk7Qw2Lr9TnXb4VmZk7Qw2Lr9TnXb4Vm\n-----END PRIVATE KEY-----\n".to_vec()));
        output.record(record);
        output.flush();
        let text = String::from_utf8(page.0.lock().expect("free").clone()).expect("text");
        assert!(!text.contains("Zk7Qw2Lr9TnXb4Vm"), "{text}");
        assert!(text.starts_with("{\"timestamp\"") && text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_count_is_written() {
        let page = Held::default();
        let output = Output::start_with(LogFormat::Json, page.clone()).expect("a thread");
        let sent = QUEUE_LINES + 100;
        let at = Arc::new(Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1));
        {
            // While the page is held, the writing thread waits with one line in its hand.
            let _held = page.0.lock().expect("free");
            (0..sent).for_each(|_| output.record(Arc::clone(&at)));
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
