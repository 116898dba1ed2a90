//! The log that the redactor and the scanner are measured with: nginx's combined form, made from a seed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// How large the log is, in bytes; the last line goes over it.
const BYTES: usize = 200_000_000;
/// Each line of this number has a key.
const KEY_EVERY: usize = 500;

const HEX: &[u8] = b"0123456789abcdef";
const BASE62: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const AGENTS: [&str; 7] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "python-requests/2.32.3",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Go-http-client/2.0",
    "kube-probe/1.30",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
];

/// What was written.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) bytes: usize,
    pub(crate) lines: usize,
    /// The keys, in the order of their lines.
    pub(crate) keys: Vec<String>,
    /// How many of them another parameter follows.
    pub(crate) followed: usize,
}

impl Log {
    /// Writes the log to `path`: always the same one.
    pub(crate) fn write(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut random = Random(7);
        let mut log = Self { bytes: 0, lines: 0, keys: Vec::new(), followed: 0 };
        while log.bytes < BYTES {
            let line = log.line(&mut random);
            out.write_all(line.as_bytes())?;
            log.bytes += line.len();
        }
        out.flush()?;
        Ok(log)
    }

    /// Writes to `path` so many `times` what is at `log`, each time with other keys.
    pub(crate) fn repeat(&self, log: &Path, path: &Path, times: usize) -> Result<()> {
        let mut text = fs::read(log)?;
        let mut ends = Vec::new();
        let mut at = 0;
        for key in &self.keys {
            let rest = text.get(at..).unwrap_or_default();
            at += memchr::memmem::find(rest, key.as_bytes()).context("a key is not in the log")? + key.len();
            ends.push(at);
        }
        let mut file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
        for copy in 0..times {
            for end in &ends {
                let digits = format!("{copy:04x}");
                let place = text.get_mut(end - digits.len()..*end).context("a key is not in the log")?;
                place.copy_from_slice(digits.as_bytes());
            }
            file.write_all(&text)?;
        }
        Ok(())
    }

    fn line(&mut self, random: &mut Random) -> String {
        self.lines += 1;
        let mut path = path(random);
        if self.lines.is_multiple_of(KEY_EVERY) {
            let key = key(random);
            let before = random.pick(&["", "page=3&"]);
            let behind = random.pick(&["", "&x=1"]);
            self.followed += usize::from(!behind.is_empty());
            path = format!("/api/events?{before}api_key={key}{behind}");
            self.keys.push(key);
        }
        let referrer = match random.below(5) {
            0 => "-".to_owned(),
            1 => "https://example.com/".to_owned(),
            2 => "https://www.google.com/".to_owned(),
            3 => format!("https://shop.example.com/products?page={}&sort=price", random.below(99)),
            _ => "https://example.com/search?q=blue+shoes&utm_source=mail".to_owned(),
        };
        let address =
            format!("{}.{}.{}.{}", 1 + random.below(223), random.below(256), random.below(256), random.below(256));
        let (day, hour, minute, second) = (1 + random.below(28), random.below(24), random.below(60), random.below(60));
        let method = random.pick(&["GET", "GET", "GET", "POST"]);
        let status = random.pick(&["200", "200", "200", "304", "404", "302"]);
        let (bytes, agent) = (random.below(60_000), random.pick(&AGENTS));
        format!(
            "{address} - - [{day:02}/Jan/2026:{hour:02}:{minute:02}:{second:02} +0000] \"{method} {path} HTTP/1.1\" \
             {status} {bytes} \"{referrer}\" \"{agent}\"\n"
        )
    }

    /// How many keys are in `text`, and how many lines without one are not as they were in `original`.
    pub(crate) fn compare(&self, original: &[u8], text: &[u8]) -> (usize, usize) {
        let keys: HashSet<&[u8]> = self.keys.iter().map(String::as_bytes).collect();
        let (mut left, mut changed) = (0, 0);
        let mut lines = text.split(|byte| *byte == b'\n');
        for (number, before) in original.split(|byte| *byte == b'\n').enumerate() {
            let after = lines.next().unwrap_or_default();
            if before.is_empty() || !(number + 1).is_multiple_of(KEY_EVERY) {
                changed += usize::from(before != after);
                continue;
            }
            left += usize::from(after.split(|byte| b"=& ".contains(byte)).any(|word| keys.contains(word)));
        }
        (left, changed + lines.count())
    }
}

fn path(random: &mut Random) -> String {
    let mut path = match random.below(13) {
        0 => "/".to_owned(),
        1 => "/index.html".to_owned(),
        2 => format!("/static/js/app.{}.js", random.text(HEX, 8)),
        3 => format!("/api/v1/users/{}", random.below(100_000)),
        4 => "/api/events".to_owned(),
        5 => "/ws/events".to_owned(),
        6 => format!("/images/{}.png", random.text(HEX, 8)),
        7 => "/search".to_owned(),
        8 => "/login".to_owned(),
        9 => "/cart/checkout".to_owned(),
        10 => format!("/products/{}", random.below(100_000)),
        11 => "/healthz".to_owned(),
        _ => "/metrics".to_owned(),
    };
    if random.below(100) < 35 {
        path += "?";
        path += &match random.below(6) {
            0 => format!("page={}&limit=50", random.below(99)),
            1 => format!("q={}&lang=en", random.text(BASE62, 6)),
            2 => format!("id={}", random.text(HEX, 32)),
            3 => format!("session={}&utm_campaign=spring", random.below(1_000_000_000)),
            4 => format!("sort_key=price&monkey={}", random.below(99)),
            _ => format!("v={}", random.text(HEX, 40)),
        };
    }
    path
}

fn key(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("sk-{}", random.text(BASE62, 32)),
        1 => random.text(BASE62, 43),
        2 => format!("AIza{}", random.text(BASE62, 35)),
        _ => random.text(HEX, 32),
    }
}

/// SplitMix64: enough for a log, and the same everywhere.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        let index = self.below(texts.len());
        texts.get(index).copied().unwrap_or_default()
    }

    fn text(&mut self, letters: &[u8], length: usize) -> String {
        (0..length).filter_map(|_| letters.get(self.below(letters.len())).copied().map(char::from)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_repeated_with_other_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, many] = ["one", "many"].map(|name| folder.path().join(name));
        let (mut log, mut random) = (Log { bytes: 0, lines: 0, keys: Vec::new(), followed: 0 }, Random(7));
        let text: String = (0..2000).map(|_| log.line(&mut random)).collect();
        fs::write(&one, &text).expect("written");
        log.repeat(&one, &many, 5).expect("written");
        let big = fs::read_to_string(&many).expect("text");
        let keys: HashSet<_> = big.split("api_key=").skip(1).map(|rest| rest.split([' ', '&']).next()).collect();
        assert_eq!((big.len(), keys.len()), (5 * text.len(), 5 * log.keys.len()));
    }

    #[test]
    fn the_log_is_the_same_each_time_and_its_keys_are_counted() {
        let make = || {
            let (mut log, mut random) = (Log { bytes: 0, lines: 0, keys: Vec::new(), followed: 0 }, Random(7));
            let text: String = (0..2000).map(|_| log.line(&mut random)).collect();
            (log, text)
        };
        let ((log, text), (_, again)) = (make(), make());
        assert_eq!(text, again);
        assert_eq!(log.keys.len(), 4);
        assert_eq!(log.compare(text.as_bytes(), text.as_bytes()), (4, 0));
        let key = log.keys.first().map(String::as_str).unwrap_or_default();
        assert_eq!(log.compare(text.as_bytes(), text.replace(key, "[REDACTED]").as_bytes()), (3, 0));
        assert_eq!(log.compare(text.as_bytes(), text.replacen("HTTP", "http", 1).as_bytes()), (4, 1));
    }
}
