//! The Unix socket for commands: whoever may open it is an admin, so that its mode is 0600 from its first moment on.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A socket file that is removed when it is dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    listener: UnixListener,
}

impl SocketFile {
    /// Puts a socket at `path`, in place of what an older process left or has there.
    ///
    /// It is made in a folder of its own that nobody else may enter, and moved to its place when it has its mode.
    ///
    /// # Errors
    /// A path that is too long for a socket (107 bytes), or whatever the disk refuses.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let place = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&place);
        // The store's folder has mode 0700, so that nobody can come between both calls.
        let listener = UnixListener::bind(&place)?;
        let made = || {
            fs::set_permissions(&place, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            let inode = inode(&place)?;
            fs::rename(&place, &path)?;
            Ok(inode)
        };
        let inode = made().inspect_err(|_: &io::Error| {
            let _ = fs::remove_file(&place);
        })?;
        Ok(Self { path, inode, listener })
    }

    /// A descriptor to accept from.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_that_of_another_process_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(UnixStream::connect(&path).is_err(), "nobody is there");
        let older = SocketFile::open(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        let newer = SocketFile::open(path.clone()).unwrap();
        drop(older);
        assert!(UnixStream::connect(&path).is_ok(), "the newer one's file stays");
        drop(newer);
        assert!(!path.exists());
    }
}
