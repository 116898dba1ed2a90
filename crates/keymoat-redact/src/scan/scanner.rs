//! Goes through folders and files, on all threads: many files side by side, and a large one in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::WalkBuilder;

use super::code::{self, Language};
use super::eye::{Eye, Subject, Tally};
use super::inflate::Inflated;
use super::pointer::Tracker;
use super::report::{At, Report, Unread};
use super::windows::{Windows, part_start};
use super::{content, sqlite};
use crate::finder::Finder;
use crate::fingerprint::Fingerprinter;
use crate::known::KnownSecrets;
use crate::rules::Rules;

/// A plain file from this size on is looked at in parts.
const PARTED: u64 = 8 << 20;
/// How large a part is.
const PART: u64 = 4 << 20;
/// How many jobs wait for a thread.
const WAITING: usize = 64;

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// How to scan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is found.
    pub rules: Arc<Rules>,
    /// Names what is found.
    pub fingerprinter: Fingerprinter,
    /// How many threads work.
    pub threads: NonZeroUsize,
    /// Reports examples with placeholders in code and documents, too.
    pub examples: bool,
    /// How many times its own size a compressed file may inflate to.
    pub inflate_ratio_max: u64,
}

/// How far a scan is, for somebody who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    /// The files that were looked into.
    pub files: AtomicU64,
    /// The bytes that were, inflated.
    pub bytes: AtomicU64,
    /// Set to end the scan early.
    pub stop: AtomicBool,
}

/// Scans files, and folders with all that is in them: hidden and ignored files too, links not.
#[must_use]
pub fn scan(paths: &[PathBuf], settings: &Settings, progress: &Progress) -> Report {
    let code = if settings.examples { code::Finder::new().with_placeholders() } else { code::Finder::new() };
    let code = Arc::new(code);
    let shared = Shared { settings, progress, found: Mutex::default() };
    let eye = || {
        let finder = Finder::new(Arc::clone(&settings.rules), KnownSecrets::default());
        Eye::new(finder, Arc::clone(&code), settings.fingerprinter.clone())
    };
    let (jobs, queue) = sync_channel(WAITING);
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..settings.threads.get() {
            let mut eye = eye();
            let (shared, queue) = (&shared, &queue);
            scope.spawn(move || {
                while let Some(job) = next(queue) {
                    shared.work(job, &mut eye);
                }
            });
        }
        walk(paths, &shared, &jobs, &mut eye());
        drop(jobs);
    });
    let found = shared.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.report(progress)
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

enum Job {
    File(PathBuf),
    Part(Arc<Parted>, usize),
}

/// A large file that several threads work on.
struct Parted {
    path: PathBuf,
    subject: Subject,
    length: u64,
    parts: usize,
    joined: Mutex<Joined>,
}

/// What is known of the parts from the first one on; the others wait.
#[derive(Default)]
struct Joined {
    next: usize,
    waiting: BTreeMap<usize, Tally>,
    tally: Tally,
    line_ends: u64,
    line_start: u64,
}

impl Joined {
    fn take(&mut self, part: usize, tally: Tally) {
        self.waiting.insert(part, tally);
        while let Some(mut tally) = self.waiting.remove(&self.next) {
            tally.settle(self.line_ends, self.line_start);
            self.line_ends += tally.line_ends;
            self.line_start = tally.line_start.unwrap_or(self.line_start);
            self.tally.may_be_json |= self.next == 0 && tally.may_be_json;
            self.tally.merge(tally);
            self.next += 1;
        }
    }
}

#[derive(Default)]
struct Found {
    tally: Tally,
    unread: BTreeSet<Unread>,
}

impl Found {
    fn report(self, progress: &Progress) -> Report {
        let mut credentials: Vec<_> = self.tally.credentials.into_values().map(|credential| *credential).collect();
        credentials.sort_by(|a, b| a.places.cmp(&b.places).then(a.id.cmp(&b.id)));
        let mut code = self.tally.code;
        code.sort_by(|a, b| a.place.cmp(&b.place));
        Report {
            credentials,
            code,
            code_further: self.tally.code_further,
            waived: self.tally.waived,
            unread: self.unread.into_iter().collect(),
            files: progress.files.load(Ordering::Relaxed),
            bytes: self.tally.bytes,
        }
    }
}

struct Shared<'a> {
    settings: &'a Settings,
    progress: &'a Progress,
    found: Mutex<Found>,
}

impl Shared<'_> {
    fn work(&self, job: Job, eye: &mut Eye) {
        if self.progress.stop.load(Ordering::Relaxed) {
            return;
        }
        let path = match &job {
            Job::File(path) => path.clone(),
            Job::Part(parted, _) => parted.path.clone(),
        };
        // A fault of the engine is one file's error, and never silence.
        if catch_unwind(AssertUnwindSafe(|| self.work_on(job, eye))).is_err() {
            let file = eye.path(&path);
            self.fail(file, "an internal error ended looking into it: please report it".to_owned());
        }
    }

    fn work_on(&self, job: Job, eye: &mut Eye) {
        let mut tally = Tally { line_start: Some(0), ..Tally::default() };
        match job {
            Job::File(path) => {
                let file = eye.path(&path);
                if let Err(error) = self.look_into(&path, &file, eye, &mut tally) {
                    self.fail(Arc::clone(&file), reason(&error));
                }
                self.progress.files.fetch_add(1, Ordering::Relaxed);
            }
            Job::Part(parted, part) => {
                if part > 0 {
                    tally.line_start = None;
                }
                let looked = self.look_into_part(&parted, part, eye, &mut tally);
                if let Err(error) = looked {
                    self.fail(Arc::clone(&parted.subject.file), reason(&error));
                }
                let mut joined = parted.joined.lock().unwrap_or_else(PoisonError::into_inner);
                joined.take(part, tally);
                if joined.next < parted.parts {
                    return;
                }
                tally = std::mem::take(&mut joined.tally);
                drop(joined);
                self.progress.files.fetch_add(1, Ordering::Relaxed);
                if tally.may_be_json {
                    let file = File::open(&parted.path);
                    // The places stay without pointers if the file has gone.
                    let _ = file.and_then(|file| fill_pointers(file, &mut tally));
                }
            }
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).tally.merge(tally);
    }

    fn look_into(&self, path: &Path, file: &Arc<str>, eye: &mut Eye, tally: &mut Tally) -> io::Result<()> {
        let mut subject = Subject { file: Arc::clone(file), language: Language::of(path), is_binary: false };
        if path.as_os_str() == STANDARD_INPUT {
            return self.look_at_stream(io::stdin().lock(), &mut subject, eye, tally);
        }
        eye.look_at_name(path, &subject, tally);
        let mut opened = File::open(path)?;
        let head = content::head(&mut opened)?;
        if content::is_database(&head) {
            subject.is_binary = true;
            return sqlite::look(path, eye, &subject, tally);
        }
        opened.seek(SeekFrom::Start(0))?;
        let Some(coding) = content::coding(&head) else {
            self.look_at_stream(&mut opened, &mut subject, eye, tally)?;
            if tally.may_be_json && !tally.credentials.is_empty() {
                opened.seek(SeekFrom::Start(0))?;
                fill_pointers(opened, tally)?;
            }
            return Ok(());
        };
        let ratio_max = self.settings.inflate_ratio_max;
        self.look_at_stream(Inflated::new(opened, coding, ratio_max)?, &mut subject, eye, tally)?;
        if tally.may_be_json && !tally.credentials.is_empty() {
            fill_pointers(Inflated::new(File::open(path)?, coding, ratio_max)?, tally)?;
        }
        Ok(())
    }

    fn look_at_stream(
        &self,
        reader: impl Read,
        subject: &mut Subject,
        eye: &mut Eye,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut windows = Windows::of_stream(reader);
        while let Some(window) = windows.next()? {
            if window.offset == 0 && window.owned.start == 0 {
                subject.is_binary = content::is_binary(window.text);
                tally.may_be_json = !subject.is_binary && content::may_be_json(window.text);
            }
            let before = tally.bytes;
            eye.look(&window, subject, tally);
            self.progress.bytes.fetch_add(tally.bytes - before, Ordering::Relaxed);
            if self.progress.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    fn look_into_part(&self, parted: &Parted, part: usize, eye: &mut Eye, tally: &mut Tally) -> io::Result<()> {
        if part == 0 {
            eye.look_at_name(&parted.path, &parted.subject, tally);
        }
        let start = part as u64 * PART;
        let end = if part + 1 == parted.parts { u64::MAX } else { start + PART };
        let mut file = File::open(&parted.path)?;
        file.seek(SeekFrom::Start(part_start(start)))?;
        let mut windows = Windows::of_part(file, start..end);
        while let Some(window) = windows.next()? {
            if part == 0 && window.offset == 0 && window.owned.start == 0 {
                tally.may_be_json = !parted.subject.is_binary && content::may_be_json(window.text);
            }
            let before = tally.bytes;
            eye.look(&window, &parted.subject, tally);
            self.progress.bytes.fetch_add(tally.bytes - before, Ordering::Relaxed);
        }
        Ok(())
    }

    fn fail(&self, file: Arc<str>, reason: String) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).unread.insert(Unread { file, reason });
    }

    /// The job of one file, in parts if that helps.
    fn jobs(&self, path: PathBuf, length: u64, eye: &mut Eye, jobs: &SyncSender<Job>) {
        // A receiver that is gone has told why.
        if length < PARTED || self.settings.threads.get() == 1 {
            let _ = jobs.send(Job::File(path));
            return;
        }
        let head = File::open(&path).and_then(|mut file| content::head(&mut file)).unwrap_or_default();
        if head.is_empty() || content::is_database(&head) || content::coding(&head).is_some() {
            let _ = jobs.send(Job::File(path));
            return;
        }
        let file = eye.path(&path);
        let subject = Subject { file, language: Language::of(&path), is_binary: content::is_binary(&head) };
        let parts = usize::try_from(length.div_ceil(PART)).unwrap_or(usize::MAX);
        let parted = Arc::new(Parted { path, subject, length, parts, joined: Mutex::default() });
        debug_assert!(parted.length > 0, "an empty file has no parts");
        for part in 0..parts {
            let _ = jobs.send(Job::Part(Arc::clone(&parted), part));
        }
    }
}

/// Gives every file below `paths` to the threads.
fn walk(paths: &[PathBuf], shared: &Shared<'_>, jobs: &SyncSender<Job>, eye: &mut Eye) {
    for path in paths {
        if path.as_os_str() == STANDARD_INPUT {
            let _ = jobs.send(Job::File(path.clone()));
            continue;
        }
        let mut walk = WalkBuilder::new(path);
        walk.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
        for entry in walk.build() {
            if shared.progress.stop.load(Ordering::Relaxed) {
                return;
            }
            match entry {
                Ok(entry) => {
                    let is_given = entry.depth() == 0;
                    let metadata = if is_given {
                        std::fs::metadata(entry.path())
                    } else {
                        std::fs::symlink_metadata(entry.path())
                    };
                    match metadata {
                        Ok(metadata) if metadata.is_file() && !is_beside_database(entry.path(), is_given) => {
                            shared.jobs(entry.into_path(), metadata.len(), eye, jobs);
                        }
                        Ok(metadata) if is_given && !metadata.is_dir() && !metadata.is_file() => {
                            let file = eye.path(entry.path());
                            shared.fail(file, "it is neither a file nor a folder".to_owned());
                        }
                        Ok(_) => {}
                        Err(error) => shared.fail(eye.path(entry.path()), reason(&error)),
                    }
                }
                Err(error) => {
                    let at = failed_path(&error).unwrap_or(path).to_owned();
                    // The text of this error names the path as it is; that of another look does not.
                    let again = std::fs::metadata(&at).err().or_else(|| std::fs::read_dir(&at).err());
                    let told = again.map_or_else(|| "it cannot be read".to_owned(), |error| reason(&error));
                    shared.fail(eye.path(&at), told);
                }
            }
        }
    }
}

/// The log beside a database is read together with it.
fn is_beside_database(path: &Path, is_given: bool) -> bool {
    let Some(name) = path.to_str().filter(|_| !is_given) else { return false };
    let main = sqlite::BESIDE.iter().find_map(|suffix| name.strip_suffix(suffix));
    let head = main.and_then(|main| File::open(main).and_then(|mut file| content::head(&mut file)).ok());
    head.is_some_and(|head| content::is_database(&head))
}

fn failed_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => failed_path(err),
        _ => None,
    }
}

/// What an error says; the texts of the system and our own hold nothing of a file.
fn reason(error: &io::Error) -> String {
    error.to_string()
}

/// Gives places in a JSON text their pointers, in one more pass.
fn fill_pointers(mut reader: impl Read, tally: &mut Tally) -> io::Result<()> {
    let places = tally.credentials.values_mut().flat_map(|credential| &mut credential.places);
    let mut places: Vec<_> = places
        .filter_map(|place| match &mut place.at {
            At::Text { offset, pointer: pointer @ None, .. } => Some((*offset, pointer)),
            _ => None,
        })
        .collect();
    places.sort_by_key(|(offset, _)| *offset);
    let mut tracker = Tracker::default();
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0_u64;
    let mut places = places.into_iter().peekable();
    while places.peek().is_some() {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let mut rest = buffer.get(..read).unwrap_or_default();
        while let Some((offset, pointer)) = places.next_if(|(offset, _)| *offset < passed + rest.len() as u64) {
            let (before, behind) = rest.split_at(usize::try_from(offset - passed).unwrap_or(0));
            tracker.feed(before);
            passed = offset;
            rest = behind;
            *pointer = tracker.pointer().map(Into::into);
        }
        tracker.feed(rest);
        passed += rest.len() as u64;
    }
    Ok(())
}
