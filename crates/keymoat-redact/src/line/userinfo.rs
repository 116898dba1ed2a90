//! The user and password in front of a host.

use super::{LineScan, Site};
use crate::finding::{Carrier, Confidence, End, Kind};
use crate::names::{before, byte};
use crate::shape;
use crate::suspect::ends_authority;
use crate::work;

/// Schemes that may have lost their slashes.
const SCHEMES: [&str; 20] = [
    "http",
    "https",
    "ws",
    "wss",
    "ftp",
    "ftps",
    "sftp",
    "ssh",
    "git",
    "postgres",
    "postgresql",
    "mysql",
    "mongodb",
    "redis",
    "rediss",
    "amqp",
    "amqps",
    "ldap",
    "smtp",
    "mqtt",
];

/// So many `@` of one piece of text are looked at with all that stands in front of them, which keeps time linear.
const SIGNS: usize = 4;

/// What is known of the piece of text in front of the last `@`, which may be that in front of the next one too.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Where it starts, and up to where it was seen.
    start: usize,
    to: usize,
    kind: Option<Authority>,
    /// How many `@` it has had, with other delimiters between them, and where the last one was.
    count: usize,
    last: usize,
    has_password: bool,
}

impl Seen {
    /// Where the piece of text starts that ends at `at`.
    fn start_of(&mut self, text: &[u8], at: usize) -> usize {
        let seen = if self.to <= at { self.to } else { 0 };
        let fresh = text.get(seen..at).unwrap_or_default();
        work::passed(fresh.len());
        match fresh.iter().rposition(|byte| ends(*byte) == Ends::Authority) {
            None if seen > 0 => self.to = at,
            end => *self = Self { start: end.map_or(seen, |end| seen + end + 1), to: at, ..Self::default() },
        }
        self.start
    }
}

/// How long a user must be to be a token.
const TOKEN_BYTES_MIN: usize = 20;

impl LineScan<'_> {
    /// An `@`. Goes on behind the last one of the authority.
    pub(super) fn at_sign(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let mut start = self.authority.start_of(text, at);
        let mut last = at;
        let mut end = at + 1;
        while let Some(&byte) = text.get(end) {
            if ends(byte) != Ends::Nothing {
                break;
            }
            if byte == b'@' {
                last = end;
            }
            end += 1;
        }
        work::passed(end - at);
        let resume = last + 1;
        let authority = match self.authority.kind {
            Some(authority) => authority,
            None => Authority::of(text, &mut start),
        };
        self.authority.kind = Some(authority);
        self.authority.start = start;
        self.authority.count += 1;
        let mut user_end = None;
        if self.authority.count > SIGNS {
            // What stands in front was looked at with each of the others. What follows a password surely is more of it.
            start = self.authority.last + 1;
            user_end = (authority == Authority::Sure && self.authority.has_password).then_some(self.authority.last);
        }
        self.authority.last = last;
        let user_end = user_end.or_else(|| {
            text.get(start..last).and_then(|part| shape::outside_marks(b':', part)).map(|colon| start + colon)
        });
        self.authority.has_password |= user_end.is_some();
        let site = Site {
            kind: Kind::Password,
            carrier: Carrier::Userinfo,
            confidence: Confidence::Named,
            name: None,
            depth: u8::try_from(level).unwrap_or(u8::MAX),
        };
        let Some(colon) = user_end else {
            if authority == Authority::Sure {
                self.token_as_user(level, start, last, &site);
            }
            return resume;
        };
        let password = text.get(colon + 1..last).unwrap_or_default();
        let to_driver =
            text.get(last + 1..).is_some_and(|rest| rest.starts_with(b"tcp(") || rest.starts_with(b"unix("));
        let likely = match authority {
            Authority::Sure => !is_port_and_query(password),
            Authority::Unsure => {
                to_driver || shape::is_secret(password) && !text.get(start..colon).unwrap_or_default().contains(&b'=')
            }
        };
        if !likely {
            return resume;
        }
        if authority == Authority::Sure && colon - start >= TOKEN_BYTES_MIN {
            self.token_as_user(level, start, colon, &site);
        }
        if !shape::is_placeholder(password) {
            self.report(level, colon + 1..last, &site, End::Delimiter);
        }
        resume
    }

    /// A password whose `@` cannot be seen yet, because the line is longer than what is looked at together.
    #[cold]
    pub(super) fn open_authority(&mut self) {
        let text = self.text(0);
        let Some(start) = open_password(text) else { return };
        let (kind, carrier, confidence) = (Kind::Password, Carrier::Userinfo, Confidence::Shape);
        let site = Site { kind, carrier, confidence, name: None, depth: 0 };
        self.report(0, start..text.len(), &site, End::Delimiter);
    }

    #[inline(never)]
    fn token_as_user(&mut self, level: usize, start: usize, end: usize, site: &Site) {
        let user = self.text(level).get(start..end).unwrap_or_default();
        if user.len() >= TOKEN_BYTES_MIN && shape::is_secret(user) {
            self.report(level, start..end, &Site { kind: Kind::Token, ..site.clone() }, End::Delimiter);
        }
    }
}

/// What a byte ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Nothing,
    /// A host, but not what stands before its `@`.
    Host,
    Authority,
}

/// For where one byte is looked at after the other.
#[inline]
fn ends(byte: u8) -> Ends {
    const ENDS: [Ends; 256] = {
        let mut ends = [Ends::Nothing; 256];
        let mut index = 0;
        while index < ends.len() {
            let byte = index as u8;
            if ends_authority(byte) {
                ends[index] = Ends::Authority;
            } else if matches!(byte, b'?' | b'#' | b',' | b')' | b';') {
                ends[index] = Ends::Host;
            }
            index += 1;
        }
        ends
    };
    ENDS.get(usize::from(byte)).copied().unwrap_or(Ends::Authority)
}

/// Where a password starts that goes on to the end of `text`, and whose `@` is further away than is looked again.
pub(crate) fn open_password(text: &[u8]) -> Option<usize> {
    /// Shorter ones are looked at again with what follows.
    const OPEN: usize = 4 << 10;
    // Without a way out of the middle of a block the compiler compares many bytes at a time.
    let has_end = |block: &&[u8]| block.iter().fold(false, |ends, byte| ends | ends_authority(*byte));
    let clear: usize = text.rchunks(64).take_while(|block| !has_end(block)).map(<[u8]>::len).sum();
    let head = text.get(..text.len() - clear)?;
    let start = head.iter().rposition(|byte| ends_authority(*byte)).map_or(0, |end| end + 1);
    let run = text.len() - start;
    work::passed(run);
    if run < OPEN || before(text, start) != b'/' {
        return None;
    }
    let colon = memchr::memchr(b':', text.get(start..)?.get(..256)?)?;
    Some(start + colon + 1)
}

/// How sure it is that an authority starts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authority {
    Sure,
    Unsure,
}

impl Authority {
    /// Looks at what stands before `start`; moves it behind a scheme without slashes.
    fn of(text: &[u8], start: &mut usize) -> Self {
        let is_slash = |byte: u8| matches!(byte, b'/' | b'\\');
        let (one, two) = (before(text, *start), before(text, start.saturating_sub(1)));
        if is_slash(one) && (is_slash(two) || two == b':') {
            return Self::Sure;
        }
        let rest = text.get(*start..).unwrap_or_default();
        if let Some(colon) = memchr::memchr(b':', rest.get(..rest.len().min(16)).unwrap_or_default()) {
            let scheme = rest.get(..colon).unwrap_or_default();
            let scheme = scheme.rsplit(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
            if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes())) {
                *start += colon + 1;
                return Self::Sure;
            }
        }
        let mut head = text.get(..*start).unwrap_or_default();
        while let [rest @ .., b' ' | b'"' | b'\'' | b'\\' | b','] = head {
            head = rest;
            work::passed(1);
        }
        let label = head.strip_suffix(b":").or_else(|| head.strip_suffix(b"=")).unwrap_or(head);
        let label = label.get(label.len().saturating_sub(10)..).unwrap_or_default().to_ascii_lowercase();
        if label.ends_with(b"authority") || label.ends_with(b"host") { Self::Sure } else { Self::Unsure }
    }
}

/// `host:80?mail=a@b` is a port, and a query behind it.
fn is_port_and_query(password: &[u8]) -> bool {
    let digits = password.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && matches!(byte(password, digits), b'?' | b'#')
}
