//! The key of fingerprints: one for each installation, so that reports can be compared and nothing can be guessed from them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use keymoat_redact::Fingerprinter;
use zeroize::Zeroizing;

/// The file in the user's folder for data.
const FILE: &str = "keymoat/fingerprint.key";
/// How many random bytes a new key has.
const BYTES: usize = 32;
/// A longer file is something else.
const BYTES_MAX: u64 = 4096;

/// Reads the key from `file`, or from the user's own place, where it is made the first time.
///
/// # Errors
/// The file is missing, too short, or readable by others; or there is no place for it.
pub(crate) fn open(file: Option<&Path>) -> anyhow::Result<Fingerprinter> {
    if let Some(file) = file {
        return read(file);
    }
    let file = own_place()?;
    if !file.exists() {
        make(&file).with_context(|| format!("cannot make the fingerprint key {}", file.display()))?;
    }
    read(&file)
}

fn own_place() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    match data {
        Some(data) => Ok(data.join(FILE)),
        None => bail!("there is no place for the fingerprint key: set HOME, or name a file with --fingerprint-key"),
    }
}

/// Writes a new key aside and puts it there as a whole, unless another process was faster.
fn make(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().context("it has no folder")?;
    let is_new = !folder.exists();
    fs::create_dir_all(folder)?;
    if is_new {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let mut key = Zeroizing::new([0; BYTES]);
    ensure!(aws_lc_rs::rand::fill(&mut *key).is_ok(), "the system's random number generator failed");
    let text = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    // Its mode is 0600 from the beginning.
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(file) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error.into()),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> anyhow::Result<Fingerprinter> {
    let shown = file.display();
    let opened = fs::File::open(file).with_context(|| format!("cannot read the fingerprint key {shown}"))?;
    let mode = opened.metadata().with_context(|| format!("cannot read {shown}"))?.permissions().mode();
    ensure!(mode & 0o077 == 0, "the fingerprint key {shown} is readable by others: `chmod 600 {shown}`");
    let mut key = Zeroizing::new(Vec::with_capacity(BYTES_MAX as usize));
    opened.take(BYTES_MAX).read_to_end(&mut key).with_context(|| format!("cannot read {shown}"))?;
    Fingerprinter::new(key.trim_ascii()).with_context(|| format!("the fingerprint key {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("share/keymoat/fingerprint.key");
        make(&file).expect("made");
        let first = read(&file).expect("read").key_id();
        make(&file).expect("it is there already");
        assert_eq!(read(&file).expect("read").key_id(), first);
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(read(&file).is_err_and(|error| error.to_string().contains("chmod 600")));
    }
}
