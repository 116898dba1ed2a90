//! Reads compressed files as a stream, up to a ratio that no log has: what inflates further is meant to keep us busy.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

/// A file that inflates to less than this is read whatever its ratio is.
const UNSUSPICIOUS: u64 = 256 << 20;
/// How much of a compressed file is read together.
const BUFFER: usize = 64 << 10;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// gzip, in one or more members.
    Gzip,
    /// Zstandard, in one or more frames.
    Zstd,
}

/// The inflated bytes of a file.
pub(super) struct Inflated {
    decoder: Box<dyn Read>,
    read: Rc<Cell<u64>>,
    inflated: u64,
    ratio_max: u64,
}

impl Inflated {
    /// Of `file`, which stands at its beginning.
    ///
    /// # Errors
    /// Memory for the decoder.
    pub(super) fn new(file: File, coding: Coding, ratio_max: u64) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        let file = BufReader::with_capacity(BUFFER, Counted { inner: file, read: Rc::clone(&read) });
        let decoder: Box<dyn Read> = match coding {
            Coding::Gzip => Box::new(MultiGzDecoder::new(file)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        };
        Ok(Self { decoder, read, inflated: 0, ratio_max })
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.inflated += read as u64;
        if self.inflated > UNSUSPICIOUS && self.inflated / self.ratio_max.max(1) > self.read.get() {
            let reason = format!(
                "it inflates to more than {} times its size and was read up to there: if that is well, raise --inflate-ratio-max",
                self.ratio_max
            );
            return Err(io::Error::other(reason));
        }
        Ok(read)
    }
}

struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file.rewind().expect("a file");
        file
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        };
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).expect("memory");
        for (coding, parts) in
            [(Coding::Gzip, [gzip(b"one "), gzip(b"two")]), (Coding::Zstd, [zstd(b"one "), zstd(b"two")])]
        {
            let mut text = String::new();
            Inflated::new(file(&parts.concat()), coding, 250).expect("memory").read_to_string(&mut text).expect("good");
            assert_eq!(text, "one two");
        }
    }

    #[test]
    fn what_inflates_beyond_measure_is_refused_with_what_to_do() {
        let bomb = zstd::encode_all(io::repeat(b'a').take(UNSUSPICIOUS + (1 << 20)), 1).expect("memory");
        let read = |ratio_max| {
            io::copy(&mut Inflated::new(file(&bomb), Coding::Zstd, ratio_max).expect("memory"), &mut io::sink())
        };
        let refused = read(250).expect_err("it is a bomb");
        assert!(refused.to_string().contains("--inflate-ratio-max"), "{refused}");
        assert!(read(1_000_000).is_ok());
    }
}
