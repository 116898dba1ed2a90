//! What a file holds, told by how it begins.

use std::io::{self, Read};

use super::inflate::Coding;
use super::sqlite;

/// How much of a file tells what it is.
const HEAD: usize = 512;
/// How much of a text is searched for what no text has.
const TEXT: usize = 8 << 10;

/// The beginning of a file.
///
/// # Errors
/// What reading says.
pub(super) fn head(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// How it is compressed, if it is.
pub(super) fn coding(head: &[u8]) -> Option<Coding> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Coding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Coding::Zstd),
        _ => None,
    }
}

pub(super) fn is_database(head: &[u8]) -> bool {
    head.starts_with(sqlite::MAGIC)
}

/// Whether places in it are better told in bytes than in lines. UTF-16 with its mark is text.
pub(super) fn is_binary(text: &[u8]) -> bool {
    let text = text.get(..text.len().min(TEXT)).unwrap_or_default();
    !text.starts_with(&[0xff, 0xfe]) && !text.starts_with(&[0xfe, 0xff]) && text.contains(&0)
}

pub(super) fn may_be_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_tells() {
        assert_eq!(coding(&[0x1f, 0x8b, 8, 0]), Some(Coding::Gzip));
        assert_eq!(coding(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Some(Coding::Zstd));
        assert_eq!(coding(b"GET /"), None);
        assert!(is_database(b"SQLite format 3\0\x10\0") && !is_database(b"SQLite"));
        assert!(is_binary(b"\x7fELF\0") && !is_binary(b"text\n") && !is_binary(b"\xff\xfeG\0E\0"));
        assert!(may_be_json(b"\xef\xbb\xbf \n{") && !may_be_json(b"1.2.3.4 - {"));
    }
}
