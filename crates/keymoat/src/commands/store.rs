//! `keymoat store`: copies the store while it is in use, says how it is, and brings its schema up to date.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use keymoat_core::Secret;
use keymoat_store::{MasterKey, NodeSeen, Store};
use serde::Serialize;

use super::store_choice::{StoreChoice, is_there, open_at, open_existing};
use super::{print, remark, to_json};
use crate::config::{self, NamedStore, StoreConfig};
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
    /// Copies keys, sealed secrets, admins and overrides into another store: from SQLite into PostgreSQL, or back.
    ///
    /// The target is empty and has the same master key. Tokens are not copied, because one that is used in both would have
    /// its uses twice: whoever holds one mints another. Stop the gateways first, and start them with the new `[store] url`.
    Copy {
        /// The target: sqlite:/path/to/folder, or postgres://USER@HOST/DATABASE without a password.
        #[arg(required_unless_present = "to_file")]
        target: Option<String>,
        /// The file with the target's URL, which may hold a password; `-` reads standard input.
        #[arg(long, value_name = "PATH", conflicts_with = "target")]
        to_file: Option<PathBuf>,
    },
    /// Makes the schema of the database, or brings it up to date.
    ///
    /// A gateway does it itself when it starts; where its role may not change the schema, this runs before it with the URL
    /// of a role that may.
    Migrate,
    /// Says where the store is, which schema it has, what a commit there is worth, and who serves over it.
    Status,
}

/// A copy in JSON.
#[derive(Debug, Serialize)]
struct Copied<'a> {
    copy: &'a Path,
    /// Where the master key is, which is not in the copy.
    master_key: String,
    tokens_revoked: bool,
}

/// How the store is, in JSON.
#[derive(Debug, Serialize)]
struct Status {
    backend: &'static str,
    place: String,
    /// The version of the schema; 0 where there is none yet.
    schema: i64,
    /// The version that this program knows.
    schema_known: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// Whether a commit that was acknowledged survives a power loss.
    durable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    synchronous_standbys: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_ahead_millis: Option<i64>,
    /// Who serves over it; absent where that cannot be told, because the store does not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<Node>>,
}

/// A node in JSON.
#[derive(Debug, Serialize)]
struct Node {
    id: String,
    name: String,
    version: String,
    address: String,
    state: &'static str,
    unseen_millis: i64,
    changes_behind: i64,
    clock_ahead_millis: i64,
}

/// What was copied, in JSON.
#[derive(Debug, Serialize)]
struct CopiedInto {
    target: String,
    keys: usize,
    secrets: usize,
    admins: usize,
    overrides: usize,
    tokens: usize,
}

/// Does what is asked.
///
/// # Errors
/// There is no store, the target exists, and whatever the disk or the database refuses.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.store.configured()?;
    match &arguments.action {
        Action::Backup { target } => back_up(arguments, &config, target),
        Action::Copy { target, to_file } => copy(arguments, config, target.as_deref(), to_file.as_deref()),
        Action::Migrate => migrate(arguments, &config),
        Action::Status => status(arguments, &config),
    }
}

fn copy(
    arguments: &Arguments,
    config: StoreConfig,
    target: Option<&str>,
    to_file: Option<&Path>,
) -> anyhow::Result<()> {
    let named = match (target, to_file) {
        (Some(url), _) => NamedStore::read(&Secret::from(url)).and_then(|named| named.refuse_password_if(true)),
        (None, Some(path)) => {
            let (url, warning) = config::secret_from(path)?;
            if let Some(warning) = warning {
                remark(&format!("keymoat: warning: {warning}"));
            }
            NamedStore::read(&url)
        }
        (None, None) => Err("name the target".to_owned()),
    };
    let source = open_existing(&config, "there is nothing to copy")?;
    // The target has the master key where the source has it: both recognise the same keys.
    let master_key = match config.master_key {
        MasterKey::InFolder => MasterKey::File(config.dir.join("master.key")),
        elsewhere => elsewhere,
    };
    let target = match named.map_err(anyhow::Error::msg)? {
        NamedStore::Folder(dir) => open_at(&dir, None, &master_key)?,
        NamedStore::Database(url) => open_at(&config.dir, Some(&url), &master_key)?,
    };
    let copied = source.copy_into(&target)?;
    let place = target.place();
    if arguments.store.json {
        let keymoat_store::Copied { keys, secrets, admins, overrides } = copied;
        return print(&to_json(&CopiedInto { target: place, keys, secrets, admins, overrides, tokens: 0 })?);
    }
    print(&format!(
        "{place} has {} keys, {} versions of upstreams' secrets, {} admins and {} overrides of routes now. Tokens were not \
         copied. Its master key is the one at {}: every node needs it\n",
        copied.keys,
        copied.secrets,
        copied.admins,
        copied.overrides,
        master_key.place(&config.dir),
    ))
}

fn migrate(arguments: &Arguments, config: &StoreConfig) -> anyhow::Result<()> {
    let (before, known) = match &config.database {
        Some(url) => Store::migrate_database(url)?,
        None => {
            let before = Store::folder_schema(&config.dir).map_or(0, |(found, _)| found);
            drop(open_existing(config, "there is nothing to bring up to date")?);
            (before, Store::folder_schema(&config.dir)?.1)
        }
    };
    if arguments.store.json {
        return print(&to_json(&serde_json::json!({ "schema_before": before, "schema": known }))?);
    }
    print(&match before == known {
        true => format!("the schema is up to date: {known}\n"),
        false => format!("the schema was brought from {before} to {known}\n"),
    })
}

fn status(arguments: &Arguments, config: &StoreConfig) -> anyhow::Result<()> {
    let mut status = match &config.database {
        Some(url) => {
            let state = Store::database_state(url, now)?;
            Status {
                backend: "postgresql",
                place: state.place,
                schema: state.found,
                schema_known: state.known,
                server: Some(state.server),
                durable: state.is_durable,
                synchronous_standbys: Some(state.standbys),
                clock_ahead_millis: Some(state.ahead_millis),
                nodes: None,
            }
        }
        None => {
            if !is_there(&config.dir, None) {
                anyhow::bail!("there is no store in `{}`", config.dir.display());
            }
            let (schema, schema_known) = Store::folder_schema(&config.dir)?;
            Status {
                backend: "sqlite",
                place: config.dir.display().to_string(),
                schema,
                schema_known,
                server: None,
                durable: true,
                synchronous_standbys: None,
                clock_ahead_millis: None,
                nodes: None,
            }
        }
    };
    if status.schema == status.schema_known {
        let nodes = open_existing(config, "nobody serves over it").and_then(|store| Ok(store.nodes(now())?));
        match nodes {
            Ok(nodes) => status.nodes = Some(nodes.into_iter().map(Node::of).collect()),
            Err(error) => remark(&format!("keymoat: warning: who serves over it is not known: {error:#}")),
        }
    }
    if arguments.store.json { print(&to_json(&status)?) } else { print(&status.text()) }
}

impl Node {
    fn of(seen: NodeSeen) -> Self {
        Self {
            id: seen.id,
            name: seen.name,
            version: seen.version,
            address: seen.address,
            state: seen.state.word(),
            unseen_millis: seen.unseen_millis,
            changes_behind: seen.changes_behind,
            clock_ahead_millis: seen.clock_ahead_millis,
        }
    }
}

impl Status {
    fn text(&self) -> String {
        let Self { backend, place, schema, schema_known, .. } = self;
        let mut text = format!("{backend} at {place}, ");
        text += &match schema {
            0 => "no schema yet: `keymoat store migrate` or the first start makes it\n".to_owned(),
            _ if schema == schema_known => format!("schema {schema}, up to date\n"),
            _ => format!("schema {schema}, this version knows {schema_known}\n"),
        };
        if let Some(server) = &self.server {
            text += &format!("server {server}\n");
        }
        text += match self.durable {
            true => "an acknowledged commit survives a power loss\n",
            false => "an acknowledged commit does NOT survive a power loss: set fsync and full_page_writes to on\n",
        };
        if let Some(standbys) = &self.synchronous_standbys {
            text += &match standbys.is_empty() {
                true => "no synchronous standby: a failover may give used-up tokens their uses back\n".to_owned(),
                false => format!("each commit waits for its standbys: {standbys}\n"),
            };
        }
        if let Some(ahead) = self.clock_ahead_millis {
            text += &format!("its clock is {ahead} ms ahead of this machine's\n");
        }
        for Node { name, version, address, state, unseen_millis, changes_behind, .. } in self.nodes.iter().flatten() {
            text += &format!("node {name} at {address}: {state}, version {version}, seen {unseen_millis} ms ago");
            if *changes_behind > 0 {
                text += &format!(", {changes_behind} changes behind");
            }
            text += "\n";
        }
        text
    }
}

fn back_up(arguments: &Arguments, config: &StoreConfig, target: &Path) -> anyhow::Result<()> {
    let store = open_existing(config, "there is nothing to copy")?;
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
