//! Which store a command works on, and how it is opened.

use std::path::{Path, PathBuf};

use keymoat_core::Secret;
use keymoat_store::{MasterKey, Store};

use super::remark;
use crate::config::{self, DEFAULT_FILE, StoreConfig};

/// Which store a command works on, and how it answers.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreChoice {
    /// The folder of the store [default: what the configuration says, or .keymoat].
    #[arg(long, global = true, value_name = "DIR", display_order = 100)]
    store: Option<PathBuf>,
    /// The configuration that names the store.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "store", display_order = 101)]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true, display_order = 102)]
    pub(crate) json: bool,
}

impl StoreChoice {
    /// The configuration's file, whether it is there or not.
    pub(crate) fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// What is known of the store, before it is opened.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn configured(&self) -> anyhow::Result<StoreConfig> {
        let environment = config::environment();
        let config = match &self.store {
            Some(dir) => config::store_in_folder(dir, &environment)?,
            None => config::store_of_configuration(self.config.as_deref(), &environment)?,
        };
        for warning in &config.warnings {
            remark(&format!("keymoat: warning: {warning}"));
        }
        Ok(config)
    }
}

/// Opens a store, and makes it where there is none.
///
/// # Errors
/// Whatever the store refuses.
pub(crate) fn open(config: &StoreConfig) -> anyhow::Result<Store> {
    open_at(&config.dir, config.database.as_ref(), &config.master_key)
}

/// Opens the store of a node whose own folder is `dir`.
///
/// # Errors
/// Whatever the store refuses.
pub(crate) fn open_at(dir: &Path, database: Option<&Secret>, master_key: &MasterKey) -> anyhow::Result<Store> {
    Ok(match database {
        Some(url) => Store::open_database(url, dir, master_key)?,
        None => Store::open_with(dir, master_key)?,
    })
}

/// Whether there is something to open: a database always is, for all that can be known before.
pub(crate) fn is_there(dir: &Path, database: Option<&Secret>) -> bool {
    database.is_some() || dir.join("keymoat.db").exists()
}

/// Opens a store that is there; `first` says how one is made.
///
/// # Errors
/// There is none, and whatever the store refuses.
pub(crate) fn open_existing(config: &StoreConfig, first: &str) -> anyhow::Result<Store> {
    if !is_there(&config.dir, config.database.as_ref()) {
        anyhow::bail!(
            "there is no store in `{}`: {first}, or name the folder with `--store DIR`",
            config.dir.display()
        );
    }
    open(config)
}
