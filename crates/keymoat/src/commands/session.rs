//! `keymoat session`: lists and ends the live sessions of the server that runs on the store.

use std::fmt::Write;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::store_choice::StoreChoice;
use super::{print, to_json};
use crate::socket::Socket;

/// Lists and ends live sessions: WebSockets and event streams of the server that runs on the store.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists live sessions, the newest first.
    List {
        /// Only those of the key with this id.
        #[arg(long, value_name = "KEY_ID")]
        key: Option<String>,
        /// Only those of this route.
        #[arg(long, value_name = "ROUTE")]
        route: Option<String>,
    },
    /// Ends a session.
    End {
        /// Its id, as `session list` shows it.
        session: String,
        /// What its client is told: one line of up to 80 bytes.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Does what is asked.
///
/// # Errors
/// No server runs on the store, or what it says.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.store.configured()?;
    let server = || {
        Socket::of_store(&config.dir).ok_or_else(|| {
            let dir = config.dir.display();
            anyhow::anyhow!("no server runs on the store in `{dir}`: sessions live in `keymoat serve`, and end with it")
        })
    };
    match &arguments.action {
        Action::List { key, route } => {
            let sessions = all(&server, key.as_deref(), route.as_deref())?;
            print(&if arguments.store.json { to_json(&sessions)? } else { listed(&sessions) })
        }
        Action::End { session, reason } => {
            let target = format!("/api/v1/sessions/{}/end", path_segment(session));
            server()?.ask(Method::POST, &target, Some(&json!({"reason": reason})))?;
            print(&format!("{session} is asked to end\n"))
        }
    }
}

/// All pages of the list.
fn all(
    server: &impl Fn() -> anyhow::Result<Socket>,
    key: Option<&str>,
    route: Option<&str>,
) -> anyhow::Result<Vec<Value>> {
    let mut filter = String::new();
    for (name, value) in [("key", key), ("route", route)] {
        if let Some(value) = value {
            let _ = write!(filter, "&{name}={}", path_segment(value));
        }
    }
    let (mut sessions, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server()?.get(&format!("/api/v1/sessions?limit=500{filter}{cursor}"))?;
        sessions.extend(page.get("items").and_then(Value::as_array).into_iter().flatten().cloned());
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(sessions),
        }
    }
}

fn listed(sessions: &[Value]) -> String {
    if sessions.is_empty() {
        return "there is no live session\n".to_owned();
    }
    let rows = sessions.iter().map(|session| {
        let text = |name: &str| session.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let number = |name: &str| session.get(name).and_then(Value::as_u64).unwrap_or_default().to_string();
        [
            text("id"),
            text("route"),
            text("key_name"),
            text("token_id"),
            text("client"),
            text("protocol"),
            text("opened_at"),
            number("bytes_in"),
            number("bytes_out"),
        ]
    });
    super::table(["ID", "ROUTE", "KEY", "TOKEN", "CLIENT", "PROTOCOL", "OPENED", "IN", "OUT"], rows)
}

/// A text as one segment of a path, or one value of a query.
pub(crate) fn path_segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
