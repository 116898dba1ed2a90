//! A consistent copy of the database, made while it is in use, in which every token is void.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use keymoat_core::UnixMillis;
use rusqlite::Connection;

use super::{Sqlite, connect, create_database, tokens};
use crate::error::StoreError;
use crate::private_file::PrivateFileError;

impl Sqlite {
    pub(crate) fn back_up(&self, target: &Path, now: UnixMillis) -> Result<(), StoreError> {
        self.refuse_replaced()?;
        // Not recursive, so that it fails when there is anything of this name.
        DirBuilder::new().mode(0o700).create(target).map_err(|refused| match refused.kind() {
            io::ErrorKind::AlreadyExists => StoreError::BackupExists { dir: target.to_owned() },
            _ => failed("create the folder", target)(refused).into(),
        })?;
        let copied = self.copy_into(target, now);
        if copied.is_err() {
            // Half a copy must not be taken for one. What was made here is all that is in it.
            let _ = fs::remove_dir_all(target);
        }
        copied
    }

    fn copy_into(&self, target: &Path, now: UnixMillis) -> Result<(), StoreError> {
        // It gets its name when it is whole and its tokens are void, so that nothing less is ever restored.
        let (copy, whole) = (target.join("keymoat.db.partial"), target.join("keymoat.db"));
        // SQLite fills an empty file, and so it has the right mode from the beginning.
        create_database(&copy)?;
        let name = copy.to_str().ok_or_else(|| failed("name", &copy)(io::ErrorKind::InvalidInput.into()))?;
        let source = connect(&self.path)?;
        source.execute("VACUUM INTO ?1", [name])?;
        void_tokens(&copy, now)?;
        File::open(&copy).and_then(|file| file.sync_all()).map_err(failed("sync", &copy))?;
        fs::rename(&copy, &whole).map_err(failed("name", &whole))?;
        for dir in [target, target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the folder", dir))?;
        }
        Ok(())
    }
}

/// A store that is put back would give back what was used since: no token that was out then is good in it.
fn void_tokens(copy: &Path, now: UnixMillis) -> Result<(), StoreError> {
    let mut connection = Connection::open(copy)?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let change = connection.transaction()?;
    tokens::void(&change, now)?;
    change.commit()?;
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::Io { action, path: path.to_owned(), source }
}
