//! Secrets in a configuration: always a reference, `${env:NAME}` or `${file:/path}`, never the secret itself.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keymoat_core::Secret;
use zeroize::Zeroize;

/// A secret may be this long; a longer file is not a key.
const SECRET_BYTES_MAX: u64 = 16 << 10;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `${env:NAME}`
    Environment(String),
    /// `${file:/path}`
    File(PathBuf),
}

/// Why a secret is not at hand. No text here holds what was written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(
        "a secret does not stand in the configuration itself: write \"${{file:/path/to/secret}}\" or \"${{env:NAME}}\" \
         (and replace this one with its provider, for whoever saw the file has it)"
    )]
    Literal,
    #[error("unknown kind of reference: write \"${{file:/path/to/secret}}\" or \"${{env:NAME}}\"")]
    Unknown,
    #[error("environment variable {0} is not set: set it, or write \"${{file:/path/to/secret}}\"")]
    Unset(String),
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{place} is empty: put the secret there")]
    Empty { place: String },
    #[error("{place} is longer than {SECRET_BYTES_MAX} bytes, which is no key")]
    TooLong { place: String },
    #[error("{place} holds a character that no header can carry, such as a line break in the middle")]
    Unprintable { place: String },
}

impl Reference {
    /// Reads `${env:NAME}` or `${file:/path}`; a relative path starts at `base`.
    ///
    /// # Errors
    /// Anything else is taken for a literal secret.
    pub(crate) fn parse(text: &str, base: &Path) -> Result<Self, SecretError> {
        let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).ok_or(SecretError::Literal)?;
        match inner.split_once(':') {
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Environment(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(base.join(path))),
            _ => Err(SecretError::Unknown),
        }
    }

    /// Fetches the secret, with a warning where it lies open to others.
    ///
    /// # Errors
    /// It is not there, is empty, or cannot be a key.
    pub(crate) fn fetch(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(Secret, Option<String>), SecretError> {
        match self {
            Self::Environment(name) => {
                let value = environment(name).ok_or_else(|| SecretError::Unset(name.clone()))?;
                Ok((checked(value.into_bytes(), &format!("environment variable {name}"))?, None))
            }
            Self::File(path) => from_file(path),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "${{env:{name}}}"),
            Self::File(path) => write!(f, "${{file:{}}}", path.display()),
        }
    }
}

/// Reads a secret from a file, or from standard input when it is `-`, with a warning when others may read it too.
///
/// # Errors
/// It cannot be read, is empty, or cannot be a key.
pub(crate) fn from(path: &Path) -> Result<(Secret, Option<String>), SecretError> {
    if path == Path::new("-") { Ok((from_stdin()?, None)) } else { from_file(path) }
}

/// Reads a secret from a file, with a warning when others may read it too.
///
/// # Errors
/// It cannot be read, is empty, or cannot be a key.
fn from_file(path: &Path) -> Result<(Secret, Option<String>), SecretError> {
    let unreadable = |error| SecretError::Unreadable { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let secret = from_reader(file, &path.display().to_string()).map_err(|error| error.unwrap_or_else(unreadable))?;
    let warning = (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path} can be read by others (mode {:03o}): run `chmod 600 {path}`", mode & 0o777)
    });
    Ok((secret, warning))
}

/// Reads a secret to the end of standard input.
///
/// # Errors
/// It cannot be read, is empty, or cannot be a key.
fn from_stdin() -> Result<Secret, SecretError> {
    let unreadable = |error| SecretError::Unreadable { path: "standard input".into(), error };
    from_reader(io::stdin().lock(), "standard input").map_err(|error| error.unwrap_or_else(unreadable))
}

/// `Ok` in the error means that the content is wrong, `Err` that reading failed.
fn from_reader(reader: impl Read, place: &str) -> Result<Secret, Result<SecretError, io::Error>> {
    let mut bytes = Vec::with_capacity(1 << 10);
    reader.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Err)?;
    checked(bytes, place).map_err(Ok)
}

/// Trims the white space at the end that editors and `echo` leave behind.
fn checked(mut bytes: Vec<u8>, place: &str) -> Result<Secret, SecretError> {
    let length = bytes.trim_ascii_end().len();
    bytes.truncate(length);
    let place = || place.to_owned();
    let error = if bytes.is_empty() {
        SecretError::Empty { place: place() }
    } else if bytes.len() as u64 > SECRET_BYTES_MAX {
        SecretError::TooLong { place: place() }
    } else if !bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        SecretError::Unprintable { place: place() }
    } else {
        return Ok(Secret::new(bytes));
    };
    bytes.zeroize();
    Err(error)
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_and_a_literal_refused_without_repeating_it() {
        let base = Path::new("/etc/keymoat");
        assert_eq!(Reference::parse("${env:KEY}", base).ok(), Some(Reference::Environment("KEY".into())));
        assert_eq!(Reference::parse("${file:key}", base).ok(), Some(Reference::File("/etc/keymoat/key".into())));
        assert_eq!(Reference::parse("${file:/run/key}", base).ok(), Some(Reference::File("/run/key".into())));
        let error = Reference::parse("canary-literal", base).expect_err("a literal");
        assert!(error.to_string().contains("${file:"));
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert!(matches!(Reference::parse("${vault:x}", base), Err(SecretError::Unknown)));
    }

    #[test]
    fn a_trailing_line_break_is_no_part_of_a_secret() {
        let place = "standard input";
        let secret = from_reader("abc\r\n".as_bytes(), place).expect("well formed");
        assert!(secret.matches(&Secret::from("abc")));
        assert!(matches!(from_reader("\n".as_bytes(), place), Err(Ok(SecretError::Empty { .. }))));
        assert!(matches!(from_reader("a\nb".as_bytes(), place), Err(Ok(SecretError::Unprintable { .. }))));
        let long = vec![b'x'; 20 << 10];
        assert!(matches!(from_reader(&long[..], place), Err(Ok(SecretError::TooLong { .. }))));
    }

    #[test]
    fn a_file_that_others_may_read_is_warned_of() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        std::fs::write(&path, "abc\n").expect("written");
        let chmod = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
        chmod(0o640);
        let (_, warning) = from_file(&path).expect("readable");
        assert!(warning.is_some_and(|text| text.contains("chmod 600") && text.contains("640")));
        chmod(0o600);
        assert_eq!(from_file(&path).expect("readable").1, None);
    }
}
