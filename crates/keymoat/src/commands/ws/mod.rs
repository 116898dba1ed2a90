//! `keymoat ws`: a WebSocket client that keeps its credential out of the URL, and shows what a browser does not.

mod connect;
mod target;
mod told;

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use keymoat_core::{Mask, Secret};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message};

use self::connect::Socket;
use self::target::{Carrying, Target};
use self::told::{Told, Voice};
use super::{Found, remark};
use crate::config;

/// The longest line that is sent.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How many lines may wait to be sent.
const LINES_MAX: usize = 16;
/// How long a close may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Talks to a WebSocket, with the credential kept out of the URL.
///
/// It sends the lines of standard input, prints what comes, and shows negotiation and close. The credential comes from a file and goes into a header or a subprotocol, never into the URL, and is printed nowhere.
/// Results go to standard output, what happens to the connection to standard error.
///
/// Exit codes: 0 it was opened and closed in good order, 1 it was refused or closed for a reason, 2 it could not be reached.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: keymoat ws wss://gateway.example/ws/events --secret-file key.txt --carrier subprotocol"
)]
pub(crate) struct Arguments {
    /// The address; `ws://` to this machine only, and without a credential in it.
    url: String,
    /// What stands behind the address, to be refused without repeating it.
    #[arg(hide = true)]
    more: Vec<std::ffi::OsString>,
    /// The file with the credential; `-` is standard input, and then nothing else is sent.
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// How the credential is sent: bearer, token, subprotocol, `subprotocol:PREFIX.` or header:NAME.
    #[arg(long, value_name = "CARRIER", default_value = "bearer", value_parser = target::carrying)]
    carrier: Carrying,
    /// A subprotocol to offer; repeatable.
    #[arg(long = "protocol", value_name = "NAME")]
    protocols: Vec<String>,
    /// The `Origin` to send, as a page would.
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// A PEM file with a further authority to trust.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Sends lines as binary messages.
    #[arg(long)]
    binary: bool,
    /// How many seconds without a message it waits after the end of the input before it closes.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    wait: u32,
    /// Prints one JSON object for each event.
    #[arg(long)]
    json: bool,
}

/// Connects and talks.
///
/// # Errors
/// An address or credential that cannot be used, a server that cannot be reached, a refusal, and a close for a reason.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.more.is_empty(),
        "only the address is an argument: name the credential's file with `--secret-file PATH`"
    );
    let target = Target::read(&arguments.url)?;
    let from_stdin = arguments.secret_file.as_deref().is_some_and(|path| path.as_os_str() == "-");
    let secret = arguments.secret_file.as_deref().map(secret).transpose()?;
    let request =
        target.request(secret.as_ref(), &arguments.carrier, &arguments.protocols, arguments.origin.as_deref())?;
    let mask = secret.as_ref().map_or(Mask::NONE, Mask::of);
    drop(secret);
    let voice = Voice::new(arguments.json, mask);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let (socket, response) = match connect::open(&target, request, arguments.ca.as_deref()).await? {
            Ok(opened) => opened,
            Err(refused) => {
                voice.refused(&refused)?;
                return Ok(Some(refused.summary()));
            }
        };
        voice.opened(&response)?;
        let lines = if from_stdin { None } else { Some(lines()) };
        let quiet = Duration::from_secs(arguments.wait.into());
        talk(socket, lines, &voice, arguments.binary, quiet).await
    });
    // The thread that reads standard input may never come back from it.
    runtime.shutdown_background();
    match ended? {
        None => Ok(()),
        Some(why) => Err(Found(why).into()),
    }
}

/// Reads the credential. One that is too short to be found again in what the server says is not taken.
fn secret(path: &std::path::Path) -> anyhow::Result<Secret> {
    let (secret, warning) = config::secret_from(path)?;
    if let Some(warning) = warning {
        remark(&format!("keymoat: warning: {warning}"));
    }
    let least = Mask::SECRET_BYTES_MIN;
    anyhow::ensure!(
        secret.len() >= least,
        "the credential has fewer than {least} bytes, which could not be masked in answers"
    );
    Ok(secret)
}

/// Sends lines and prints messages until one side ends it; says why where it was not in good order.
async fn talk(
    mut socket: Socket,
    mut lines: Option<Receiver<String>>,
    voice: &Voice,
    binary: bool,
    quiet: Duration,
) -> anyhow::Result<Option<String>> {
    let mut last = Instant::now();
    loop {
        let next_line = async {
            match &mut lines {
                Some(lines) => lines.recv().await,
                None => {
                    sleep_until(last + quiet).await;
                    None
                }
            }
        };
        tokio::select! {
            line = next_line => match line {
                Some(line) => {
                    let message = if binary { Message::binary(line.into_bytes()) } else { Message::text(line) };
                    // Why it could not be sent is read from what comes.
                    let _ = socket.send(message).await;
                }
                None if lines.is_some() => {
                    lines = None;
                    last = Instant::now();
                }
                None => return close(socket, voice).await,
            },
            message = socket.next() => {
                last = Instant::now();
                if let Some(told) = heard(message, voice)? {
                    return voice.closed(&told);
                }
            }
        }
    }
}

/// Prints a message, or says how the connection ended.
fn heard(message: Option<Result<Message, Error>>, voice: &Voice) -> anyhow::Result<Option<Told>> {
    match message {
        Some(Ok(Message::Close(frame))) => {
            return Ok(Some(frame.map_or_else(Told::no_code, |frame| Told::new(frame.code.into(), &frame.reason))));
        }
        Some(Ok(message)) => voice.message(&message)?,
        None | Some(Err(_)) => return Ok(Some(Told::broken())),
    }
    Ok(None)
}

/// Closes in good order, and prints what was still on its way.
async fn close(mut socket: Socket, voice: &Voice) -> anyhow::Result<Option<String>> {
    let farewell = async {
        let _ = socket.close(None).await;
        while let Some(Ok(message)) = socket.next().await {
            voice.message(&message)?;
        }
        anyhow::Ok(())
    };
    // A server that does not answer a close is left.
    if let Ok(farewell) = tokio::time::timeout(CLOSE_PATIENCE, farewell).await {
        farewell?;
    }
    voice.left()?;
    Ok(None)
}

/// The lines of standard input, read by a thread of their own.
fn lines() -> Receiver<String> {
    let (send, receive) = mpsc::channel(LINES_MAX);
    thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            match io::stdin().lock().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if line.len() as u64 > LINE_BYTES_MAX {
                remark("keymoat: a line of more than 1 MiB ends the input");
                return;
            }
            let text = String::from_utf8_lossy(&line);
            if send.blocking_send(text.trim_end_matches(['\r', '\n']).to_owned()).is_err() {
                return;
            }
        }
    });
    receive
}

/// Where a connection goes, for errors: nothing of the query.
fn reaching<T, E: Into<anyhow::Error>>(done: Result<T, E>, target: &Target) -> anyhow::Result<T> {
    done.map_err(Into::into).with_context(|| format!("connecting to {}", target.authority()))
}
