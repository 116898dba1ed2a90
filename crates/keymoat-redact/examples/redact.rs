//! A filter from standard input to standard output: the engine alone, for measuring.

use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    let mut redactor = keymoat_redact::Redactor::default();
    let mut input = std::io::stdin().lock();
    let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        redactor.write(buffer.get(..read).unwrap_or_default(), &mut out)?;
    }
    redactor.finish(&mut out)?;
    out.flush()
}
