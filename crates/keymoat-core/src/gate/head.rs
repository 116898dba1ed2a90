//! Judges one head, line by line as its lines become complete, and says how its body is framed.

use std::ops::Range;

use super::scan::{Line, Scan, TOKEN, run};
use super::{GateError, Limits, target};

/// What may stand in a request line besides its target.
const REQUEST_LINE_BYTES: usize = 48;

/// Trailers together may be this large, in bytes.
const TRAILER_BYTES_MAX: usize = 4096;

/// Fields that decide framing or routing and so may not come after the body (RFC 9110 section 6.5.1).
const TRAILERS_FORBIDDEN: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the bytes after a head are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A body of this many bytes, or none.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// A WebSocket upgrade: nothing may follow before the answer.
    Upgrade,
}

/// A block of lines that is being read, and what its lines said so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    scan: Scan,
    fields_start: usize,
    fields: usize,
    http10: bool,
    host: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    connection_upgrade: bool,
    upgrade_websocket: bool,
}

/// What is known about a block of lines after looking at the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress<T> {
    /// It is complete, and this many bytes long.
    Done(usize, T),
    /// It goes on.
    Partial,
}

impl Head {
    /// Whether any byte of it came.
    pub(super) fn is_begun(&self) -> bool {
        self.scan.at > 0
    }

    /// How many bytes at the start of the block were scanned and need not be looked at again.
    #[cfg(test)]
    pub(super) fn scanned(&self) -> usize {
        self.scan.at
    }

    /// Reads on in `block`, which starts with the first byte of the head.
    pub(super) fn read(&mut self, block: &[u8], limits: &Limits) -> Result<Progress<Framing>, GateError> {
        if self.fields_start == 0 {
            if matches!(block, [b'\r' | b'\n', ..]) {
                return Err(GateError::LeadingLine);
            }
            let limit = limits.url_bytes_max + REQUEST_LINE_BYTES;
            match self.scan.line(block, limit).map_err(in_request_line)? {
                Line::Partial => return Ok(Progress::Partial),
                Line::TooLong => return Err(GateError::UrlTooLong),
                Line::Whole(line, _) => self.request_line(line, limits)?,
            }
            self.fields_start = self.scan.at;
        }
        loop {
            match self.scan.line(block, self.fields_start + limits.head_bytes_max)? {
                Line::Partial => return Ok(Progress::Partial),
                Line::TooLong => return Err(GateError::HeadTooLarge),
                Line::Whole([], _) => return Ok(Progress::Done(self.scan.at, self.framing(block)?)),
                Line::Whole(line, at) => self.field(line, at, limits)?,
            }
        }
    }

    /// Reads on in the trailers of a chunked body (RFC 9112 section 7.1.2).
    pub(super) fn read_trailers(&mut self, block: &[u8], limits: &Limits) -> Result<Progress<()>, GateError> {
        loop {
            match self.scan.line(block, TRAILER_BYTES_MAX)? {
                Line::Partial => return Ok(Progress::Partial),
                Line::TooLong => return Err(GateError::TrailersTooLarge),
                Line::Whole([], _) => return Ok(Progress::Done(self.scan.at, ())),
                Line::Whole(line, _) => {
                    self.count(limits)?;
                    let (name, _) = split_field(line)?;
                    if TRAILERS_FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes())) {
                        return Err(GateError::TrailerForbidden);
                    }
                }
            }
        }
    }

    fn count(&mut self, limits: &Limits) -> Result<(), GateError> {
        self.fields += 1;
        if self.fields > limits.fields_max { Err(GateError::FieldsTooMany) } else { Ok(()) }
    }

    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), GateError> {
        let method = target::method(line)?;
        let rest = line.get(method.len() + 1..).unwrap_or_default();
        let space = rest.iter().rposition(|&byte| byte == b' ').ok_or(GateError::RequestLine)?;
        let (target, version) = rest.split_at(space);
        self.http10 = match version {
            b" HTTP/1.1" => false,
            b" HTTP/1.0" => true,
            [b' ', b'H', b'T', b'T', b'P', b'/', ..] => return Err(GateError::Version),
            _ => return Err(GateError::RequestLine),
        };
        if target.len() > limits.url_bytes_max {
            return Err(GateError::UrlTooLong);
        }
        let from = method.len() + 1;
        self.authority = target::judge(method, target)?.map(|range| range.start + from..range.end + from);
        Ok(())
    }

    fn field(&mut self, line: &[u8], at: usize, limits: &Limits) -> Result<(), GateError> {
        self.count(limits)?;
        let (name, value) = split_field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() {
                    return Err(GateError::HostRepeated);
                }
                let (value, before) = trim(value);
                target::host(value)?;
                let start = at + name.len() + 1 + before;
                self.host = Some(start..start + value.len());
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(GateError::LengthRepeated);
                }
                self.length = Some(length(trim(value).0)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.http10 {
                    return Err(GateError::EncodingInHttp10);
                }
                if self.chunked {
                    return Err(GateError::EncodingRepeated);
                }
                if !trim(value).0.eq_ignore_ascii_case(b"chunked") {
                    return Err(GateError::EncodingUnknown);
                }
                self.chunked = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection_upgrade |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade_websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Judges what only the whole head can say.
    fn framing(&self, block: &[u8]) -> Result<Framing, GateError> {
        let bytes = |range: &Range<usize>| block.get(range.clone()).unwrap_or_default();
        match (&self.authority, &self.host) {
            (None, None) if self.http10 => {}
            (_, None) => return Err(GateError::HostMissing),
            (Some(authority), Some(host)) if !bytes(authority).eq_ignore_ascii_case(bytes(host)) => {
                return Err(GateError::AuthorityMismatch);
            }
            _ => {}
        }
        if self.length.is_some() && self.chunked {
            return Err(GateError::LengthWithEncoding);
        }
        // RFC 9110 section 7.8: in HTTP/1.0, and without the connection option, an upgrade is ignored.
        let upgrade = self.connection_upgrade && self.upgrade_websocket && !self.http10;
        match (upgrade, self.chunked, self.length.unwrap_or(0)) {
            (true, false, 0) => Ok(Framing::Upgrade),
            (true, _, _) => Err(GateError::UpgradeWithBody),
            (false, true, _) => Ok(Framing::Chunked),
            (false, false, length) => Ok(Framing::Length(length)),
        }
    }
}

fn in_request_line(error: GateError) -> GateError {
    if error == GateError::FieldNonAscii { GateError::TargetNonAscii } else { error }
}

fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), GateError> {
    let (name, rest) = line.split_at(run(line, TOKEN));
    match rest {
        [b':', value @ ..] if !name.is_empty() => Ok((name, value)),
        [b' ' | b'\t', ..] if name.is_empty() => Err(GateError::FieldFolded),
        [b' ' | b'\t', ..] if trim(rest).0.first() == Some(&b':') => Err(GateError::FieldSpace),
        _ if rest.contains(&b':') => Err(GateError::FieldName),
        _ => Err(GateError::FieldWithoutColon),
    }
}

/// Takes the optional white space off both ends (RFC 9110 section 5.6.3), and says how much stood before the value.
fn trim(value: &[u8]) -> (&[u8], usize) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    (value.get(start..end).unwrap_or_default(), start)
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(|token| trim(token).0)
}

/// Parses a canonical length: what any other parser must read as the same number.
fn length(value: &[u8]) -> Result<u64, GateError> {
    if value.contains(&b',') {
        return Err(GateError::LengthList);
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) || (value.len() > 1 && value.starts_with(b"0")) {
        return Err(GateError::LengthInvalid);
    }
    let digit = |sum: u64, byte: &u8| sum.checked_mul(10)?.checked_add(u64::from(byte & 0x0f));
    let number = value.iter().try_fold(0, digit).ok_or(GateError::LengthOverflow)?;
    if number > i64::MAX as u64 { Err(GateError::LengthOverflow) } else { Ok(number) }
}
