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
