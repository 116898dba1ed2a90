//! An upstream's answer, looked through for the upstream's own secret.
//!
//! A success is passed on as it is, but for its head and its trailers. A failure is decoded and looked through as it comes: that is
//! where servers repeat the key that they refuse.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http_body::Frame;
use keymoat_core::{Mask, Masking};

use crate::body::BodyError;
use crate::coding::{Coding, Decoder};
use crate::relay::hygiene;

/// How an upstream's body is looked through.
pub(crate) struct Masked {
    mask: Arc<Mask>,
    failure: Option<Failure>,
}

/// The body of a failure.
struct Failure {
    decoder: Decoder,
    masking: Masking,
    /// Something of it has come.
    begun: bool,
    ended: bool,
}

impl Masked {
    /// Of a success: trailers alone.
    pub(crate) const fn trailers(mask: Arc<Mask>) -> Self {
        Self { mask, failure: None }
    }

    /// Of a failure: the whole body, decoded. `None` for a coding that is not read here.
    pub(crate) fn whole(mask: Arc<Mask>, coding: Coding) -> Option<Self> {
        let decoder = Decoder::of(coding)?;
        let failure = Failure { decoder, masking: Masking::default(), begun: false, ended: false };
        Some(Self { mask, failure: Some(failure) })
    }

    /// What of a frame goes on, if anything.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub(crate) fn pass(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BodyError> {
        let Some(failure) = &mut self.failure else {
            let mut frame = frame;
            if let Some(trailers) = frame.trailers_mut() {
                hygiene::clean_trailers(trailers);
                mask_values(&self.mask, trailers);
            }
            return Ok(Some(frame));
        };
        // Trailers would have to stand behind what is held back; those of a failure are nobody's loss.
        let Some(data) = frame.data_ref() else { return Ok(None) };
        failure.begun |= !data.is_empty();
        let shown = match failure.decoder.decode(data).map_err(BodyError::Coding)? {
            None => failure.masking.push(&self.mask, data),
            Some(text) => failure.masking.push(&self.mask, &text),
        };
        Ok(as_frame(shown))
    }

    /// What was held back. To be asked until there is nothing.
    ///
    /// # Errors
    /// What was decoded has no end.
    pub(crate) fn finish(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let Some(failure) = &mut self.failure else { return Ok(None) };
        if std::mem::replace(&mut failure.ended, true) {
            return Ok(None);
        }
        // An empty body is none in any coding, and nothing is missing of it.
        let text = if failure.begun { failure.decoder.finish().map_err(BodyError::Coding)? } else { Vec::new() };
        let mut shown = failure.masking.push(&self.mask, &text);
        shown.append(&mut failure.masking.finish());
        Ok(as_frame(shown))
    }

    /// Whether something may follow when nothing comes from the upstream any more.
    pub(crate) fn may_follow(&self) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|failure| !failure.ended && (failure.masking.is_holding() || failure.decoder.has_an_end()))
    }

    /// Whether the body may become longer or shorter.
    pub(crate) const fn changes_length(&self) -> bool {
        self.failure.is_some()
    }
}

/// Masks the values of headers or trailers.
pub(crate) fn mask_values(mask: &Mask, headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if let Some(masked) = mask.masked(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&masked).unwrap_or_else(|_| HeaderValue::from_static("[redacted]"));
        }
    }
}

fn as_frame(shown: Vec<u8>) -> Option<Frame<Bytes>> {
    if shown.is_empty() { None } else { Some(Frame::data(shown.into())) }
}

#[cfg(test)]
mod tests {
    use keymoat_core::Secret;

    use super::*;
    use crate::coding::DECODED_BYTES_MAX;
    use crate::coding::tests::{gzip, zlib};

    const SECRET: &str = "real-key-0123456789";

    /// What is shown of a body that comes in parts.
    fn shown(coding: Coding, body: &[u8], part: usize) -> Result<Vec<u8>, BodyError> {
        let mask = Arc::new(Mask::of(&Secret::from(SECRET)));
        let mut masked = Masked::whole(mask, coding).expect("a coding that is read");
        let mut shown = Vec::new();
        for part in body.chunks(part) {
            let frame = masked.pass(Frame::data(Bytes::copy_from_slice(part)))?;
            shown.extend(frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default());
        }
        while let Some(frame) = masked.finish()? {
            shown.extend(frame.into_data().unwrap_or_default());
        }
        assert!(!masked.may_follow());
        Ok(shown)
    }

    #[test]
    fn the_secret_is_found_under_every_coding_that_is_read_however_it_is_cut() {
        let text = format!("<{SECRET}> and {}", &SECRET[..9]);
        let expected = text.replace(SECRET, "[redacted]");
        for part in [1, 2, 7, 1000] {
            for (coding, body) in [
                (Coding::Plain, text.clone().into_bytes()),
                (Coding::Gzip, gzip(text.as_bytes())),
                (Coding::Gzip, [gzip(&text.as_bytes()[..5]), gzip(&text.as_bytes()[5..])].concat()),
                (Coding::Deflate, zlib(text.as_bytes())),
            ] {
                let shown = shown(coding, &body, part).expect("well formed");
                assert_eq!(String::from_utf8_lossy(&shown), expected, "{coding:?} in {part}");
            }
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_broken_off() {
        let good = gzip(&[b'x'; 1000]);
        let mut bad = good.clone();
        bad[15] ^= 0xff;
        for (coding, body) in [
            (Coding::Gzip, &good[..good.len() - 1]),
            (Coding::Gzip, &good[..12]),
            (Coding::Gzip, &bad[..]),
            (Coding::Gzip, b"plain text"),
            (Coding::Deflate, b"plain text"),
            (Coding::Deflate, &zlib(b"text")[..6]),
        ] {
            assert!(matches!(shown(coding, body, 7), Err(BodyError::Coding(_))), "{coding:?} {body:?}");
        }
        for coding in [Coding::Plain, Coding::Gzip, Coding::Deflate] {
            assert_eq!(shown(coding, b"", 7).expect("nothing is missing"), b"");
        }
    }

    #[test]
    fn a_failure_that_unfolds_is_bounded_at_the_edge() {
        let largest = gzip(&vec![0; DECODED_BYTES_MAX]);
        assert_eq!(shown(Coding::Gzip, &largest, 100).expect("just within").len(), DECODED_BYTES_MAX);
        let bomb = gzip(&vec![0; DECODED_BYTES_MAX + 1]);
        assert!(matches!(shown(Coding::Gzip, &bomb, usize::MAX), Err(BodyError::Coding(_))));
    }
}
