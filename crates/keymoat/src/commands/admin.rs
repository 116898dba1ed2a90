//! `keymoat admin`: says who may administer, by whoever may open the store.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use keymoat_admin::listener::new_claim_link;
use keymoat_core::{Role, Secret, UnixMillis};
use keymoat_store::Admin;
use serde::Serialize;
use serde_json::Value;

use super::key::expiry;
use super::store_choice::{StoreChoice, open, open_existing};
use super::{print, print_bytes, remark, table, to_json};
use crate::config;
use crate::hand::{AdminOrder, Hand};
use crate::output::time::{now, rfc3339};
use crate::process;
use crate::socket::Socket;

/// Makes, lists and removes those who may use the admin API and the console.
///
/// Whoever may open the store may do this, so it also helps when a password is lost.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints a link by which a browser makes an admin; good for an hour and one use.
    Claim {
        /// Where the console is [default: where the running server says, or http://127.0.0.1:8788].
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Makes an admin: a person with a password, or a key, which is printed once.
    Create {
        /// What people call it; a person signs in by it.
        name: String,
        /// How much it may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleChoice,
        /// The file with a person's password; `-` reads standard input. Without it a key is made.
        #[arg(long, value_name = "PATH")]
        password_file: Option<PathBuf>,
        /// When it ends: 90d, 12h, or a time such as 2027-03-01T00:00:00Z [default: never].
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// Lists all of them.
    List,
    /// Removes one for good.
    Remove {
        /// Its id or name.
        admin: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleChoice {
    /// Looks, and changes nothing.
    Viewer,
    /// Makes, changes and ends keys, tokens and sessions, and steers the routes.
    Operator,
    /// Also says who may administer, and sets the upstreams' secrets.
    Admin,
}

impl RoleChoice {
    fn role(self) -> Role {
        match self {
            Self::Viewer => Role::Viewer,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

/// Does what is asked.
///
/// # Errors
/// What the store refuses, and a password or expiry that cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for warning in process::keep_memory_private() {
        remark(&format!("keymoat: warning: {warning}"));
    }
    let config = arguments.store.configured()?;
    let json = arguments.store.json;
    match &arguments.action {
        Action::Claim { url } => {
            let store = open(&config)?;
            let url = match url {
                Some(url) => url.clone(),
                None => url_of_server(&config.dir).unwrap_or_else(|| "http://127.0.0.1:8788".to_owned()),
            };
            let link = new_claim_link(&store, &url, now())?;
            // The one time that the link is shown: whoever asked for it must get it.
            print_bytes(&[link.expose(), b"\n"].concat())?;
            remark("It is good for an hour and one use, and takes the place of any before it.");
            Ok(())
        }
        Action::Create { name, role, password_file, expires } => {
            let store = open(&config)?;
            let expires_at = expires
                .as_deref()
                .map(|text| expiry(text, now()).map_err(anyhow::Error::msg))
                .transpose()
                .context("--expires")?;
            let password = password_file.as_deref().map(read_password).transpose()?;
            let order = AdminOrder { name, role: role.role(), expires_at, password };
            create(&Hand::on(&store, &config.dir), order, json)
        }
        Action::List => {
            let admins =
                open_existing(&config, "make a first admin with `keymoat admin create NAME --role admin`")?.admins()?;
            print(&if json { to_json(&admins.iter().map(Shown::of).collect::<Vec<_>>())? } else { listed(&admins) })
        }
        Action::Remove { admin } => {
            let store = open_existing(&config, "there is nobody to remove")?;
            let removed = Hand::on(&store, &config.dir).remove_admin(admin, now())?;
            let text = format!("{} ({}) is removed\n", removed.id, removed.name);
            print(&if json { to_json(&Shown::of(&removed))? } else { text })
        }
    }
}

/// Where the server on this store has its admin listener, if one runs.
fn url_of_server(store_dir: &Path) -> Option<String> {
    let health = Socket::of_store(store_dir)?.get("/api/v1/health").ok()?;
    health.get("admin_url").and_then(Value::as_str).map(str::to_owned)
}

fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let (password, warning) = config::secret_from(path)?;
    if let Some(warning) = warning {
        remark(&format!("keymoat: warning: {warning}"));
    }
    Ok(password)
}

fn create(hand: &Hand<'_>, order: AdminOrder<'_>, json: bool) -> anyhow::Result<()> {
    let (admin, key) = hand.create_admin(order, now())?;
    // The one time that the key is shown: whoever asked for it must get it.
    let plain = key.as_ref().map(|key| std::str::from_utf8(key.expose())).transpose()?;
    if json {
        return print(&to_json(&Created { key: plain, about: Shown::of(&admin) })?);
    }
    if let Some(plain) = plain {
        print(&format!("{plain}\n"))?;
    }
    remark(&format!(
        "{} ({}), {}, {}, expires: {}.{}",
        admin.id,
        admin.name,
        admin.kind.word(),
        admin.role.word(),
        admin.expires_at.map_or_else(|| "never".to_owned(), rfc3339),
        if plain.is_some() { " Keep the key safe: it is not shown again." } else { "" }
    ));
    Ok(())
}

/// An admin in JSON; there is no secret in it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    kind: &'static str,
    role: &'static str,
    created_at: String,
    expires_at: Option<String>,
}

/// A new admin in JSON, the only place that shows a key.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(flatten)]
    about: Shown<'a>,
}

impl<'a> Shown<'a> {
    fn of(admin: &'a Admin) -> Self {
        Self {
            id: &admin.id,
            name: &admin.name,
            kind: admin.kind.word(),
            role: admin.role.word(),
            created_at: rfc3339(admin.created_at),
            expires_at: admin.expires_at.map(rfc3339),
        }
    }
}

fn listed(admins: &[Admin]) -> String {
    if admins.is_empty() {
        return "nobody may administer yet: `keymoat admin claim` prints a link for the first one\n".to_owned();
    }
    let day = |at: UnixMillis| rfc3339(at).chars().take(10).collect::<String>();
    let rows = admins.iter().map(|admin| {
        [
            admin.id.to_string(),
            admin.kind.word().to_owned(),
            admin.role.word().to_owned(),
            day(admin.created_at),
            admin.expires_at.map_or_else(|| "never".to_owned(), day),
            admin.name.to_string(),
        ]
    });
    table(["ID", "KIND", "ROLE", "CREATED", "EXPIRES", "NAME"], rows)
}
