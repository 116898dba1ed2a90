//! The codings of bodies that can be looked into: gzip and deflate, decoded as they come and within bounds.

use std::io::{self, Write};

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::header::{self, HeaderMap};

/// A failure that says more than this, once decoded, is broken off: no server has so much to say of one.
pub(crate) const DECODED_BYTES_MAX: usize = 1 << 20;

/// The coding of a body (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// None.
    Plain,
    /// `gzip`.
    Gzip,
    /// `deflate`, which is zlib's format.
    Deflate,
    /// One that is not read here, or several over another.
    Other,
}

/// From the coding to the text.
pub(crate) enum Decoder {
    Plain,
    Gzip(Box<MultiGzDecoder<Decoded>>),
    Deflate(Box<ZlibDecoder<Decoded>>),
}

/// What was decoded and not taken yet.
#[derive(Default)]
pub(crate) struct Decoded {
    text: Vec<u8>,
    total: usize,
}

impl Coding {
    /// The coding of an answer with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let mut codings = values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
            .map(Self::named);
        match (codings.next(), codings.next()) {
            (None, _) => Self::Plain,
            (Some(coding), None) => coding,
            (Some(_), Some(_)) => Self::Other,
        }
    }

    fn named(coding: &[u8]) -> Self {
        match coding.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            _ => Self::Other,
        }
    }

    /// Of an `Accept-Encoding`, what can be read here: a failure in another coding would have to be withheld.
    pub(crate) fn acceptable(accepted: &str) -> String {
        let named = |entry: &&str| {
            let coding = entry.split(';').next().unwrap_or_default().trim();
            coding.eq_ignore_ascii_case("identity") || Self::named(coding.as_bytes()) != Self::Other
        };
        let kept: Vec<&str> = accepted.split(',').map(str::trim).filter(named).collect();
        // Nothing would mean anything.
        if kept.is_empty() { String::from("identity") } else { kept.join(", ") }
    }
}

impl Decoder {
    /// A decoder for a coding that is read here.
    pub(crate) fn of(coding: Coding) -> Option<Self> {
        match coding {
            Coding::Plain => Some(Self::Plain),
            Coding::Gzip => Some(Self::Gzip(Box::new(MultiGzDecoder::new(Decoded::default())))),
            Coding::Deflate => Some(Self::Deflate(Box::new(ZlibDecoder::new(Decoded::default())))),
            Coding::Other => None,
        }
    }

    /// Whether the coding tells where the text ends, so that something may be missing.
    pub(crate) const fn has_an_end(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// The text of a part; `None` if the part is the text.
    ///
    /// # Errors
    /// It is not in the coding, or there is too much of it.
    pub(crate) fn decode(&mut self, part: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let decoded = match self {
            Self::Plain => return Ok(None),
            Self::Gzip(decoder) => {
                decoder.write_all(part)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Self::Deflate(decoder) => {
                decoder.write_all(part)?;
                decoder.flush()?;
                decoder.get_mut()
            }
        };
        Ok(Some(std::mem::take(&mut decoded.text)))
    }

    /// The last of the text.
    ///
    /// # Errors
    /// Something is missing.
    pub(crate) fn finish(&mut self) -> io::Result<Vec<u8>> {
        let decoded = match self {
            Self::Plain => return Ok(Vec::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                decoder.get_mut()
            }
            Self::Deflate(decoder) => {
                decoder.try_finish()?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(&mut decoded.text))
    }
}

impl Write for Decoded {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.total = self.total.saturating_add(text.len());
        if self.total > DECODED_BYTES_MAX {
            return Err(io::Error::other(format!("it holds more than {DECODED_BYTES_MAX} bytes")));
        }
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    pub(crate) fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn the_coding_is_what_the_headers_say() {
        for (lines, coding) in [
            (&[][..], Coding::Plain),
            (&["identity"], Coding::Plain),
            (&["GZIP"], Coding::Gzip),
            (&["x-gzip, identity"], Coding::Gzip),
            (&["deflate"], Coding::Deflate),
            (&["br"], Coding::Other),
            (&["gzip", "gzip"], Coding::Other),
            (&["gzip, br"], Coding::Other),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(Coding::of(&headers), coding, "{lines:?}");
        }
    }

    #[test]
    fn upstreams_are_asked_for_what_can_be_read() {
        for (accepted, acceptable) in [
            ("gzip, deflate, br, zstd", "gzip, deflate"),
            ("br;q=1.0, GZip;q=0.8, *;q=0.1", "GZip;q=0.8"),
            ("identity;q=0, gzip", "identity;q=0, gzip"),
            ("br", "identity"),
            ("*", "identity"),
            ("", "identity"),
        ] {
            assert_eq!(Coding::acceptable(accepted), acceptable, "{accepted}");
        }
    }
}
