//! The key of fingerprints, one for each user: `keymoat redact` and `keymoat scan` call the same credential by the same name,
//! and nobody without the key can try out guesses.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use keymoat_redact::{FINGERPRINT_KEY_BYTES_MIN, Fingerprinter};
use keymoat_store::private_file::{self, Readers};
use zeroize::Zeroizing;

/// The folder and the file in the user's folder for data.
const FOLDER: &str = "keymoat";
const FILE: &str = "fingerprint.key";

/// Reads the key from `file`, or from the user's own place, where it is made the first time.
///
/// # Errors
/// The file is missing, too short, or readable by others; or there is no place for it.
pub(crate) fn open(file: Option<&Path>) -> anyhow::Result<Fingerprinter> {
    match file {
        Some(file) => read(file)?.with_context(|| format!("there is no fingerprint key {}", file.display())),
        None => made_once(&own_place()?),
    }
}

fn own_place() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    match data {
        Some(data) => Ok(data.join(FOLDER)),
        None => bail!("there is no place for the fingerprint key: set HOME, or name a file with --fingerprint-key"),
    }
}

fn made_once(folder: &Path) -> anyhow::Result<Fingerprinter> {
    let file = folder.join(FILE);
    if let Some(known) = read(&file)? {
        return Ok(known);
    }
    private_file::create_folder(folder)?;
    let mut key = Zeroizing::new([0; FINGERPRINT_KEY_BYTES_MIN]);
    ensure!(aws_lc_rs::rand::fill(&mut *key).is_ok(), "the system's random number generator failed");
    // Another process may be faster; then its key is the one.
    private_file::create(&file, &*key, Readers::Owner)?;
    read(&file)?.with_context(|| format!("{} has vanished", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Option<Fingerprinter>> {
    let Some(key) = private_file::read(file)? else { return Ok(None) };
    // The key goes into the HMAC and nowhere else.
    let fingerprinter = Fingerprinter::new(key.expose()).with_context(|| file.display().to_string())?;
    Ok(Some(fingerprinter))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("share/keymoat");
        let first = made_once(&data).expect("made").key_id();
        assert_eq!(made_once(&data).expect("read").key_id(), first);
        let file = data.join(FILE);
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&file, "short").expect("written");
        assert!(made_once(&data).is_err(), "a short key is refused and not replaced");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(made_once(&data).is_err(), "a key that others read is refused");
        assert!(open(Some(&folder.path().join("none"))).is_err());
    }
}
