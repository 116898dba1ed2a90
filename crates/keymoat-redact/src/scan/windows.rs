//! Cuts a stream of bytes into windows of bounded size, at line ends where there are any, so that nothing is looked at
//! twice and nothing falls between two.
//!
//! A window shows some text before and behind the part that it owns: a name may stand before its value, a private key
//! goes on in later lines. A finding belongs to the window that owns its first byte.
//!
//! ```text
//! ├─ before ─┼────────────── owned ──────────────┼─ behind ─┤
//!                                     ├─ before ─┼────────────── owned ───────── …
//! ```

use std::io::{self, Read};
use std::ops::Range;

/// How much a window owns at most.
pub(super) const STEP: usize = 256 << 10;
/// How much of a line that is longer than a window is seen before and behind.
const EDGE: usize = 16 << 10;
/// The same where a window ends at a line end.
const LINES: usize = 6 << 10;
/// How far from the nominal end of a part its last line may end; a longer line is cut.
pub(super) const LOOK: usize = 64 << 10;
/// How much at its end is searched for a good place to cut a long line.
const NICE: usize = 4 << 10;

/// One window.
#[derive(Debug)]
pub(super) struct Window<'a> {
    /// What is seen.
    pub(super) text: &'a [u8],
    /// The part of it that is this window's own.
    pub(super) owned: Range<usize>,
    /// Where `text` begins in the stream.
    pub(super) offset: u64,
    /// Whether nothing comes behind.
    pub(super) is_last: bool,
}

/// Gives the windows of a stream, or of a part of a file.
#[derive(Debug)]
pub(super) struct Windows<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Where the buffer begins in the stream.
    base: u64,
    filled: usize,
    /// Where the next window's own part begins, in the buffer.
    from: usize,
    read_all: bool,
    /// The nominal end of the part.
    end: Option<u64>,
    is_done: bool,
    /// What ended the stream early; told when what came before is shown.
    failed: Option<io::Error>,
}

impl<R: Read> Windows<R> {
    /// Of a whole stream. What is read ahead is moved to the front each time: no more than a window shows.
    pub(super) fn of_stream(reader: R) -> Self {
        Self::with_room(reader, STEP + 2 * EDGE)
    }

    fn with_room(reader: R, room: usize) -> Self {
        let buffer = vec![0; room];
        Self { reader, buffer, base: 0, filled: 0, from: 0, read_all: false, end: None, is_done: false, failed: None }
    }

    /// Of the part of a file between two nominal places. `reader` stands at [`part_start`] of the first.
    pub(super) fn of_part(reader: R, part: Range<u64>) -> Self {
        let base = part_start(part.start);
        let mut windows = Self { base, end: Some(part.end), ..Self::with_room(reader, STEP + 2 * EDGE + LOOK) };
        windows.fill();
        windows.from = windows.cut_near(part.start);
        windows
    }

    /// The next one.
    ///
    /// # Errors
    /// What reading says, when everything that could be read was shown.
    pub(super) fn next(&mut self) -> io::Result<Option<Window<'_>>> {
        if self.is_done {
            return self.failed.take().map_or(Ok(None), Err);
        }
        self.make_room();
        self.fill();
        let cut = self.cut();
        let start = self.seen_from();
        let end = self.seen_to(cut);
        let owned = self.from - start..cut - start;
        self.from = cut;
        self.is_done |= self.read_all && cut == self.filled;
        if owned.is_empty() && self.is_done {
            return self.failed.take().map_or(Ok(None), Err);
        }
        let text = self.buffer.get(start..end).unwrap_or_default();
        let is_last = self.read_all && cut == self.filled;
        Ok(Some(Window { text, owned, offset: self.base + start as u64, is_last }))
    }

    /// Drops what no window will show again.
    fn make_room(&mut self) {
        let keep = self.from.saturating_sub(EDGE);
        self.buffer.copy_within(keep..self.filled, 0);
        self.base += keep as u64;
        self.filled -= keep;
        self.from -= keep;
    }

    fn fill(&mut self) {
        while !self.read_all {
            let Some(room) = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty()) else { return };
            match self.reader.read(room) {
                Ok(0) => self.read_all = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.read_all = true;
                    self.failed = Some(error);
                }
            }
        }
    }

    /// Where this window's own part ends.
    fn cut(&mut self) -> usize {
        if let Some(end) = self.end {
            let near = usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX);
            if self.read_all && near >= self.filled {
                // The file ends within the part, or where it does.
            } else if near <= self.from
                || self.filled >= near.saturating_add(LOOK + EDGE)
                || self.read_all && near < self.filled
            {
                let last = self.cut_near(end).max(self.from);
                if last - self.from <= STEP + LOOK {
                    self.is_done = true;
                    return last;
                }
            }
        }
        if self.read_all && self.filled - self.from <= STEP + EDGE {
            return self.filled;
        }
        let limit = (self.from + STEP).min(self.filled.saturating_sub(EDGE)).max(self.from);
        let fresh = self.buffer.get(self.from..limit).unwrap_or_default();
        if let Some(end) = memchr::memrchr(b'\n', fresh) {
            return self.from + end + 1;
        }
        let tail = fresh.len().saturating_sub(NICE);
        let is_nice = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'&');
        let nice = fresh.get(tail..).and_then(|tail| tail.iter().rposition(is_nice));
        nice.map_or(limit, |nice| self.from + tail + nice + 1).max(self.from + 1).min(self.filled)
    }

    /// The first line start at or behind a nominal place, or the place itself where the line is too long: the same for
    /// the part that ends there and for the one that begins there.
    fn cut_near(&self, place: u64) -> usize {
        let Some(before) = place.checked_sub(1) else { return 0 };
        let at = usize::try_from(before.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.filled);
        let look = self.buffer.get(at..self.filled.min(at.saturating_add(LOOK))).unwrap_or_default();
        memchr::memchr(b'\n', look).map_or(self.filled.min(at + 1), |end| at + end + 1)
    }

    fn seen_from(&self) -> usize {
        let far = self.from.saturating_sub(EDGE);
        let before = self.buffer.get(far..self.from).unwrap_or_default();
        if before.last() == Some(&b'\n') {
            let near = before.len().saturating_sub(LINES);
            let lines = before.get(near..).unwrap_or_default();
            if far + near == 0 && self.base == 0 {
                return 0;
            }
            return memchr::memchr(b'\n', lines).map_or(self.from, |end| far + near + end + 1);
        }
        match memchr::memchr(b'\n', before) {
            Some(end) if far > 0 || self.base > 0 => far + end + 1,
            _ => far,
        }
    }

    fn seen_to(&self, cut: usize) -> usize {
        let is_line_end = cut.checked_sub(1).and_then(|last| self.buffer.get(last)) == Some(&b'\n');
        let far = self.filled.min(cut + if is_line_end { LINES } else { EDGE });
        let behind = self.buffer.get(cut..far).unwrap_or_default();
        match memchr::memrchr(b'\n', behind) {
            Some(end) => cut + end + 1,
            None if is_line_end && far < self.filled => cut,
            None => far,
        }
    }
}

/// Where reading begins for a part whose nominal start is `start`.
pub(super) fn part_start(start: u64) -> u64 {
    start.saturating_sub(EDGE as u64 + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Gives few bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let some = buffer.len().min(7001).min(self.0.len());
            let (now, later) = self.0.split_at(some);
            buffer[..some].copy_from_slice(now);
            self.0 = later;
            Ok(some)
        }
    }

    fn lines(bytes: usize, of: usize) -> Vec<u8> {
        (0..bytes).map(|at| if at % of == of - 1 { b'\n' } else { b'a' + (at % 23) as u8 }).collect()
    }

    fn gathered<R: Read>(mut windows: Windows<R>, whole: &[u8]) -> (Vec<u8>, Vec<u64>) {
        let mut gathered = Vec::new();
        let mut starts = Vec::new();
        while let Some(window) = windows.next().expect("memory") {
            let at = usize::try_from(window.offset).expect("small");
            assert_eq!(window.text, &whole[at..at + window.text.len()], "it shows what is there");
            assert!(window.owned.len() <= STEP + LOOK, "it is bounded");
            starts.push((at + window.owned.start) as u64);
            gathered.extend_from_slice(&window.text[window.owned]);
        }
        (gathered, starts)
    }

    #[test]
    fn windows_own_every_byte_once_and_in_order() {
        for (bytes, of) in
            [(0, 80), (1, 80), (79, 80), (3 << 20, 80), (3 << 20, 1 << 30), (3 << 20, 300_000), (STEP, 10)]
        {
            let text = lines(bytes, of);
            let (gathered, _) = gathered(Windows::of_stream(Slow(&text)), &text);
            assert!(gathered == text, "{bytes} {of}");
        }
    }

    #[test]
    fn windows_begin_at_lines_where_lines_are_short() {
        let text = lines(2 << 20, 100);
        let (_, starts) = gathered(Windows::of_stream(Slow(&text)), &text);
        assert!(starts.len() > 6 && starts.iter().all(|start| start % 100 == 0), "{starts:?}");
    }

    #[test]
    fn parts_own_every_byte_once() {
        for of in [100, 1 << 30, 50_000, 200_000] {
            let text = lines((3 << 20) + 17, of);
            for part in [700_001, 1 << 20] {
                let mut whole = Vec::new();
                let mut start = 0;
                while start < text.len() {
                    let end = (start + part).min(text.len());
                    let from = usize::try_from(part_start(start as u64)).expect("small");
                    let windows = Windows::of_part(Cursor::new(&text[from..]), start as u64..end as u64);
                    whole.extend(gathered(windows, &text).0);
                    start = end;
                }
                assert!(whole == text, "{of} {part}: {} of {}", whole.len(), text.len());
            }
        }
    }

    #[test]
    fn what_was_read_before_an_error_is_shown_first() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut windows = Windows::of_stream(Slow(b"first\nsecond").chain(Broken));
        assert_eq!(windows.next().expect("good").expect("there").text, b"first\nsecond");
        assert!(windows.next().is_err());
        assert!(windows.next().expect("told once").is_none());
    }

    #[test]
    fn a_window_shows_what_stands_around_its_own() {
        let text = lines(2 << 20, 1 << 30);
        let mut windows = Windows::of_stream(Slow(&text));
        windows.next().expect("memory");
        let second = windows.next().expect("memory").expect("there is one");
        assert_eq!(second.owned.start, EDGE);
        assert!(second.text.len() >= second.owned.end + EDGE);
    }
}
