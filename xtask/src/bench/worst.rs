//! Inputs that somebody makes to cost the redactor as much as they can.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Each a name and a piece that is repeated.
pub(crate) const INPUTS: [(&str, &[u8]); 31] = [
    ("`=` every other byte", b"a="),
    ("`=` every other byte, short lines", b"a=a=a=a=a=a=a=a=\n"),
    ("`key=` only", b"key="),
    ("`api_key=` only", b"api_key="),
    ("`api_key=&` only", b"api_key=&"),
    ("`token:` only", b"token:"),
    ("`cookie:a;` only", b"cookie:a;"),
    ("`--api-key ` only", b"--api-key "),
    ("`{\"name\":\"api_key\",` only", b"{\"name\":\"api_key\","),
    ("every line a secret of 15 bytes", b"api_key=hunter2\n"),
    ("every line a secret", b"GET /e?page=3&api_key=Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue&x=1 HTTP/1.1\n"),
    ("secrets only, one line", b"&api_key=Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue"),
    ("`%` only", b"%"),
    ("`%25` only", b"%25"),
    ("`%` escapes half open", b"%5%2%u00\\x5\\u00"),
    ("backslashes only", b"\\"),
    ("quotes only", b"\""),
    ("`@` only", b"@"),
    ("`a:b@` only", b"//a:b@"),
    ("`eyJ` only", b"eyJ"),
    ("`<key>` only", b"<key>"),
    ("`key%3D` only", b"key%3D"),
    ("`a:b@c,` only", b"a:b@c,"),
    ("`glpat-` only", b"glpat-"),
    ("`bearer.` only", b"bearer."),
    ("`Bearer ` only", b"Bearer "),
    ("`authorization: Bearer a ` only", b"authorization: Bearer a "),
    ("full-width letters only", "ｋｅｙ＝".as_bytes()),
    ("UTF-16 only", b"k\0e\0y\0=\0"),
    ("every line a name without a value", b"key=\n"),
    ("`-----BEGIN PRIVATE KEY-----` only", b"-----BEGIN PRIVATE KEY-----"),
];

/// Fills `path` with `piece` again and again, `bytes` of it.
pub(crate) fn write(path: &Path, piece: &[u8], bytes: usize) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let mut out = BufWriter::new(file);
    let mut left = bytes;
    while left > 0 {
        let part = piece.get(..left.min(piece.len())).unwrap_or_default();
        out.write_all(part)?;
        left -= part.len();
    }
    Ok(out.flush()?)
}
