//! `keymoat store`: copies the store while it is in use.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::store_choice::{StoreChoice, open_existing};
use super::{print, to_json};
use crate::output::time::now;

/// Looks after the store.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copies the database, as of this moment and without the master key, while gateways use it.
    ///
    /// All tokens are revoked in the copy, because one that was used since would have its uses again.
    ///
    /// To restore, stop the gateways, put the copy's keymoat.db in the place of the old one (remove keymoat.db-wal and
    /// keymoat.db-shm beside it), and start them with the same master key.
    Backup {
        /// The folder to make for the copy; it must not exist.
        target: PathBuf,
    },
}

/// A copy in JSON.
#[derive(Debug, Serialize)]
struct Copied<'a> {
    copy: &'a Path,
    /// Where the master key is, which is not in the copy.
    master_key: String,
    tokens_revoked: bool,
}

/// Does what is asked.
///
/// # Errors
/// There is no store, the target exists, and whatever the disk refuses.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.store.configured()?;
    let store = open_existing(&config, "there is nothing to copy")?;
    let Action::Backup { target } = &arguments.action;
    store.back_up(target, now())?;
    let key_place = config.master_key.place(&config.dir);
    if arguments.store.json {
        return print(&to_json(&Copied { copy: target, master_key: key_place.to_string(), tokens_revoked: true })?);
    }
    print(&format!(
        "`{}` is a copy of the database. The master key at {} is not in it: without it the copy recognises no key and \
         opens no secret, so keep it elsewhere. In the copy all tokens are revoked\n",
        target.display(),
        key_place,
    ))
}
