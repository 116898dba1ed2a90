//! A consistent copy of the database, made while it is in use.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{Sqlite, connect, create_database};
use crate::error::StoreError;
use crate::private_file::PrivateFileError;

impl Sqlite {
    pub(crate) fn back_up(&self, target: &Path) -> Result<(), StoreError> {
        self.refuse_replaced()?;
        // Not recursive, so that it fails when there is anything of this name.
        DirBuilder::new().mode(0o700).create(target).map_err(|refused| match refused.kind() {
            io::ErrorKind::AlreadyExists => StoreError::BackupExists { dir: target.to_owned() },
            _ => failed("create the folder", target)(refused).into(),
        })?;
        let copied = self.copy_into(target);
        if copied.is_err() {
            // Half a copy must not be taken for one. What was made here is all that is in it.
            let _ = fs::remove_dir_all(target);
        }
        copied
    }

    fn copy_into(&self, target: &Path) -> Result<(), StoreError> {
        let copy = target.join("keymoat.db");
        // SQLite fills an empty file, and so it has the right mode from the beginning.
        create_database(&copy)?;
        let name = copy.to_str().ok_or_else(|| failed("name", &copy)(io::ErrorKind::InvalidInput.into()))?;
        let source = connect(&self.path)?;
        source.execute("VACUUM INTO ?1", [name])?;
        File::open(&copy).and_then(|file| file.sync_all()).map_err(failed("sync", &copy))?;
        for dir in [target, target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the folder", dir))?;
        }
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::Io { action, path: path.to_owned(), source }
}
