//! The lock that makes opening a store one process's business and lets writers take turns, and the refusal of network
//! file systems.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::fs::FsWord;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::StoreError;
use crate::private_file::PrivateFileError;

/// How long another process may take to open, create or migrate the store.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// The pause between two attempts.
const OPEN_RETRY: Duration = Duration::from_millis(10);

/// How long a writer waits for its turn.
const TURN_WAIT: Duration = Duration::from_millis(100);
/// The pause between two attempts.
const TURN_RETRY: Duration = Duration::from_micros(100);

/// Held while a store is created, migrated and opened; released on drop.
pub(crate) struct OpenLock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

/// Takes the lock on the folder itself, so that no further file is needed.
pub(crate) fn lock(dir: &Path) -> Result<OpenLock, StoreError> {
    let failed = |source| PrivateFileError::Io { action: "lock the folder", path: dir.to_owned(), source };
    let folder = File::open(dir).map_err(failed)?;
    match wait_for(&folder, OPEN_WAIT, OPEN_RETRY) {
        Ok(()) => Ok(OpenLock(folder)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Err(StoreError::OpenBusy { dir: dir.to_owned() }),
        Err(refused) => Err(failed(refused.into()).into()),
    }
}

/// Waits for the turn to begin a transaction that writes; it is given back on drop, once the transaction has begun.
///
/// SQLite's lock has no queue: a process that writes over and over would keep another one out until that gives up. Whoever
/// waits for it holds the turn meanwhile, so that nobody else begins before. `None` where that takes too long: order in
/// the database is kept by SQLite's lock alone.
pub(crate) fn turn(dir: &Path) -> Option<OpenLock> {
    let folder = File::open(dir).ok()?;
    wait_for(&folder, TURN_WAIT, TURN_RETRY).ok().map(|()| OpenLock(folder))
}

fn wait_for(folder: &File, wait: Duration, retry: Duration) -> Result<(), Errno> {
    let give_up = Instant::now() + wait;
    loop {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < give_up => std::thread::sleep(retry),
            outcome => return outcome,
        }
    }
}

/// Refuses file systems whose locks and shared memory SQLite cannot rely on (its documentation, "How To Corrupt", 2.1).
#[cfg(target_os = "linux")]
pub(crate) fn refuse_network(dir: &Path) -> Result<(), StoreError> {
    let found = rustix::fs::statfs(dir).map_err(|refused| PrivateFileError::Io {
        action: "examine the file system of",
        path: dir.to_owned(),
        source: refused.into(),
    })?;
    if is_network(found.f_type) { Err(StoreError::NetworkFileSystem { dir: dir.to_owned() }) } else { Ok(()) }
}

/// Elsewhere there is no cheap way to tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn refuse_network(_dir: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// NFS, SMB, CIFS, SMB2, AFS and Coda, by the numbers in `statfs(2)`.
#[cfg(target_os = "linux")]
fn is_network(kind: FsWord) -> bool {
    // The type is signed or unsigned, 32 or 64 bits, as the machine has it; only the low half is the number.
    matches!(kind as u32, 0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x7375_7245)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn tells_network_file_systems_from_local_ones() {
        let (nfs, cifs, cifs_signed) = (0x6969, 0xff53_4d42, i64::from(0xff53_4d42_u32.cast_signed()));
        assert!(is_network(nfs) && is_network(cifs) && is_network(cifs_signed));
        let (ext4, tmpfs, overlay) = (0xef53, 0x0102_1994, 0x794c_7630);
        assert!(!is_network(ext4) && !is_network(tmpfs) && !is_network(overlay));
    }
}
