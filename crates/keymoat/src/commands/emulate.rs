//! `keymoat emulate`: a stand-in for a provider's API, to develop and test against without one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use keymoat_core::Secret;
use keymoat_emulator::{Credentials, Options};
use keymoat_gateway::tls;
use keymoat_store::private_file::{self, Readers};
use serde::Serialize;

use super::{print, remark};
use crate::config::{self, DEFAULT_STORE_DIR};
use crate::demo::random_text;
use crate::output::time;
use crate::process;

/// Where it listens when nothing is said.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8790);

/// Runs an emulated API on its own, without the gateway.
///
/// It takes one key and, by default, refuses keys in URLs, so that a leak fails a test. Never give it a key that
/// matters. All APIs are served on one address; the name chooses what is told at the start.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which API.
    api: Api,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8790].
    #[arg(long, value_name = "IP:PORT", value_parser = config::address)]
    listen: Option<SocketAddr>,
    /// Serves TLS with a certificate of Keymoat's own authority in .keymoat/tls.
    #[arg(long)]
    tls: bool,
    /// The file with the key that it takes; `-` reads standard input [default: a new one in .keymoat/emulator.key].
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// Whether keys in URLs are refused, or taken as the real provider does.
    #[arg(long, value_enum, default_value_t = CredentialsChoice::Strict)]
    credentials: CredentialsChoice,
    /// Serves what was received, credentials included, at /emulator/record.
    #[arg(long)]
    record: bool,
    /// Prints one JSON object with the address when ready.
    #[arg(long)]
    json: bool,
}

/// The APIs that can be emulated.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Api {
    /// Google's Gemini API: Live, Live Music, REST and SSE.
    Gemini,
    /// OpenAI's API: Realtime, REST and SSE.
    #[value(name = "openai")]
    OpenAi,
    /// A home-security service: events over REST and WebSocket.
    Events,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CredentialsChoice {
    /// Keys in URLs are refused.
    Strict,
    /// Keys are taken wherever the real provider takes them.
    Provider,
}

/// What is printed when it is ready.
#[derive(Debug, Serialize)]
struct Ready {
    emulator: String,
    ca_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
    pid: u32,
}

/// Runs until a signal asks for the end.
///
/// # Errors
/// Whatever keeps it from starting.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let warnings = process::keep_memory_private();
    warnings.iter().for_each(|warning| remark(&format!("keymoat: warning: {warning}")));
    let dir = std::path::absolute(DEFAULT_STORE_DIR)?;
    let address = arguments.listen.unwrap_or(DEFAULT_ADDRESS);
    anyhow::ensure!(
        arguments.tls || address.ip().is_loopback(),
        "plain text beyond loopback would show every credential to the network: listen on 127.0.0.1, or add --tls"
    );
    let (key, secret_file) = key(arguments.secret_file.as_deref(), &dir)?;
    let mut options = Options::new(key);
    options.address = address;
    options.record_endpoint = arguments.record;
    options.credentials = match arguments.credentials {
        CredentialsChoice::Strict => Credentials::Strict,
        CredentialsChoice::Provider => Credentials::Provider,
    };
    let mut ca_file = None;
    if arguments.tls {
        let own = tls::self_signed::prepare(&dir.join("tls"), time::now()).context("preparing the certificate")?;
        options.tls = Some(own.config);
        ca_file = Some(own.ca_file);
    }
    let asked_to_end = process::asked_to_end()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = keymoat_emulator::start(options).await.with_context(|| {
            format!("cannot listen on {address}: choose another address with `--listen 127.0.0.1:PORT`")
        })?;
        let scheme = if arguments.tls { "https" } else { "http" };
        let emulator = format!("{scheme}://{}", running.address());
        let ready = Ready { emulator, ca_file, secret_file, pid: std::process::id() };
        print(&if arguments.json { serde_json::to_string(&ready)? + "\n" } else { text(&ready, arguments.api) })?;
        // A closed channel means that no signal can arrive any more; there is nothing to wait for then.
        let _ = asked_to_end.await;
        running.stop().await;
        Ok(())
    })
}

/// The key that the emulator takes, and the file that it can be read from, unless it came by standard input.
fn key(secret_file: Option<&Path>, dir: &Path) -> anyhow::Result<(Secret, Option<PathBuf>)> {
    match secret_file {
        Some(path) => {
            let (secret, warning) = config::secret_from(path)?;
            warning.iter().for_each(|warning| remark(&format!("keymoat: warning: {warning}")));
            Ok((secret, (path != Path::new("-")).then(|| path.to_owned())))
        }
        None => {
            let path = dir.join("emulator.key");
            if private_file::read(&path)?.is_none() {
                private_file::create_folder(dir)?;
                let secret = random_text()?;
                // The file is where the user's own programs read the key from.
                let content = secret.expose();
                private_file::create(&path, content, Readers::Owner)?;
            }
            Ok((config::secret_from(&path)?.0, Some(path)))
        }
    }
}

fn text(ready: &Ready, api: Api) -> String {
    let emulator = &ready.emulator;
    let (name, example) = match api {
        Api::Gemini => ("Gemini", format!("{emulator}/v1beta/models with `x-goog-api-key`")),
        Api::OpenAi => ("OpenAI", format!("{emulator}/v1/models with `Authorization: Bearer …`")),
        Api::Events => ("events", format!("{emulator}/api/events with `X-API-Key`")),
    };
    let key = ready.secret_file.as_ref().map_or_else(
        || "The key is the one from standard input.".to_owned(),
        |path| format!("The key is in {}.", path.display()),
    );
    let trust = ready.ca_file.as_ref().map_or_else(String::new, |ca| format!("Trust {}.\n", ca.display()));
    format!("The emulated {name} API is ready: {example}\n{key}\n{trust}Ctrl-C ends it.\n")
}
