//! The stage of the story: the emulated provider in this process, the gateway as a process of its own, a folder for both.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use keymoat_core::Secret;
use keymoat_emulator::{Credentials, Options, Recorded, Recorder};
use keymoat_store::private_file::{self, Readers};
use keymoat_store::{NewKey, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::config::DEFAULT_STORE_DIR;
use crate::demo::random_text;
use crate::output::time::now;
use crate::process::new_key_secret;

const KEY_NAME: &str = "backend";
const SECRET_FILE: &str = "provider.key";
const LOG_FILE: &str = "gateway.log";

/// How long the gateway may take to end before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Everything that runs during the story; all of it ends with this value.
pub(crate) struct Stage {
    gateway: Gateway,
    provider: keymoat_emulator::Running,
    provider_address: String,
    store: Store,
    keys: Keys,
    /// The last to go: nobody writes into it any more.
    folder: TempDir,
}

/// The long-lived secrets of the story.
pub(crate) struct Keys {
    /// The key that the backend has for Keymoat.
    pub(crate) client: Secret,
    /// The real API key.
    pub(crate) provider: Secret,
}

impl Stage {
    /// Starts the provider and the gateway, and makes a key.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("keymoat-demo-").tempdir().context("making a folder")?;
        let provider_key = random_text()?;
        // The emulated provider is told its key, and the gateway finds it in a file of its owner's.
        let text = provider_key.expose();
        private_file::create(&folder.path().join(SECRET_FILE), text, Readers::Owner)?;
        let mut options = Options::new(Secret::new(text.to_vec()));
        options.credentials = Credentials::Provider;
        let provider = keymoat_emulator::start(options).await.context("starting the emulated provider")?;
        let provider_address = provider.address().to_string();
        fs::write(folder.path().join("keymoat.toml"), configuration(&provider_address))?;
        let store = Store::open(&folder.path().join(DEFAULT_STORE_DIR))?;
        let client = new_key_secret()?;
        let new = NewKey::named(KEY_NAME);
        store.create_key(new, &client, now())?;
        let gateway = Gateway::start(folder.path())?;
        Ok(Self { folder, provider, provider_address, gateway, store, keys: Keys { client, provider: provider_key } })
    }

    /// Address and port of the provider.
    pub(crate) fn provider(&self) -> &str {
        &self.provider_address
    }

    /// Address and port of the gateway.
    pub(crate) fn gateway(&self) -> &str {
        &self.gateway.address
    }

    pub(crate) fn provider_key(&self) -> &Secret {
        &self.keys.provider
    }

    pub(crate) fn client_key(&self) -> &Secret {
        &self.keys.client
    }

    /// Revokes the key, as `keymoat key revoke` does, beside the running gateway.
    pub(crate) fn revoke_client_key(&self) -> anyhow::Result<()> {
        self.store.revoke_key(KEY_NAME, now())?;
        Ok(())
    }

    /// Forgets what the provider has been sent so far.
    pub(crate) fn forget_record(&self) {
        self.recorder().clear();
    }

    /// What the provider has been sent.
    pub(crate) fn record(&self) -> Vec<Recorded> {
        self.recorder().requests()
    }

    fn recorder(&self) -> Recorder {
        self.provider.recorder()
    }

    /// Ends the gateway, and gives all that it has written, with the secrets to look for.
    pub(crate) fn end(mut self) -> anyhow::Result<(Vec<u8>, Keys)> {
        self.gateway.end();
        let log = fs::read(self.folder.path().join(LOG_FILE)).context("reading the gateway's log")?;
        Ok((log, self.keys))
    }
}

fn configuration(provider: &str) -> String {
    format!(
        "[tls]\nmode = \"disabled\"\n\n\
         [log]\nlevel = \"debug\"\n\n\
         [upstream.gemini]\npreset = \"gemini\"\nurl = \"http://{provider}\"\nsecret = \"${{file:{SECRET_FILE}}}\"\n\n\
         [route.voice]\nupstream = \"gemini\"\n"
    )
}

/// The gateway's process; killed when it is dropped before it has ended.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let log = File::create(folder.join(LOG_FILE))?;
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        // Settings in the environment are for the user's own gateway, and Ctrl-C is for this process, which ends that one.
        command
            .env_clear()
            .process_group(0)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().context("starting the gateway")?;
        let mut ready = String::new();
        let stdout = child.stdout.take();
        let mut gateway = Self { child, address: String::new() };
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut ready)?;
        }
        let ready: Option<Value> = serde_json::from_str(&ready).ok();
        let url = ready.as_ref().and_then(|ready| ready.get("gateway")?.as_str()?.strip_prefix("http://"));
        let Some(address) = url else {
            gateway.end();
            let log = fs::read_to_string(folder.join(LOG_FILE)).unwrap_or_default();
            anyhow::bail!("the gateway did not start: {}", log.lines().last().unwrap_or("it said nothing"));
        };
        gateway.address = address.to_owned();
        Ok(gateway)
    }

    /// Asks it to end, and kills it when it takes too long.
    fn end(&mut self) {
        let asked = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // A process that has gone already is just what is wanted.
        let _ = asked.map(|pid| kill_process(pid, Signal::TERM));
        let began = Instant::now();
        while began.elapsed() < END_PATIENCE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
