//! The real `keymoat` binary for a suite: an emulated API with a record, the gateway in front of it, and what they leave behind.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::canary::Canary;
use crate::process::{self, Running};
use crate::report::Check;

/// The real key of the emulated APIs, made up for the tests. It may be in upstream headers and nowhere else.
const UPSTREAM_KEY: &str = "AIzaTestsOnly-UpstreamCanary0UpstreamCanary0Upstream";
/// A well-formed key that no gateway ever issued.
pub(crate) const WRONG_KEY: &str = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
/// The headers that take the real key upstream.
const UPSTREAM_PLACES: [&str; 2] = ["header:x-goog-api-key", "header:x-api-key"];
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Routes as people write them; `watched` is the same API where the URL may still carry a key.
const CONFIGURATION: &str = r#"
[upstream.gemini]
preset = "gemini"
url = "EMULATOR"
secret = "${file:SECRET}"

[upstream.events]
url = "EMULATOR"
secret = "${file:SECRET}"
inject = "header:X-API-Key"

[route.gemini]
upstream = "gemini"

[route.watched]
upstream = "gemini"
prefix = "/watched"
query = "warn"

[route.events]
upstream = "events"
paths = ["/api/*", "/ws/events"]
lone_subprotocol = "echo"
"#;

/// A gateway with everything around it, in a folder of its own; dropping it ends and removes all.
#[derive(Debug)]
pub(crate) struct Gateway {
    folder: TempDir,
    gateway: Running,
    emulator: Option<Emulator>,
    /// The base URL in plain text.
    pub(crate) plain: String,
    /// The base URL with TLS.
    pub(crate) tls: String,
    /// The authority that a client has to trust.
    pub(crate) ca_file: PathBuf,
    /// The client's key.
    pub(crate) key_file: PathBuf,
}

#[derive(Debug)]
struct Emulator {
    process: Running,
    url: String,
}

impl Gateway {
    /// Starts an emulator that records, and a gateway that is configured for it.
    pub(crate) fn configured(binary: &Path) -> Result<Self> {
        let folder = folder()?;
        let secret = folder.path().join("upstream.key");
        fs::write(&secret, UPSTREAM_KEY).context("cannot write the upstream's key")?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).context("cannot protect the upstream's key")?;

        let mut command = Command::new(binary);
        command
            .args(["emulate", "gemini", "--listen", "127.0.0.1:0", "--json", "--record", "--secret-file"])
            .arg(&secret);
        let (process, ready) = start(&mut command, folder.path(), "emulator")?;
        let emulator = Emulator { process, url: text(&ready, "url")? };

        let configuration = folder.path().join("keymoat.toml");
        let written = CONFIGURATION.replace("EMULATOR", &emulator.url).replace("SECRET", &secret.to_string_lossy());
        fs::write(&configuration, written).context("cannot write the configuration")?;
        let mut command = Command::new(binary);
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--config"]).arg(configuration);
        Self::start(folder, &mut command, Some(emulator))
    }

    /// Starts a gateway as someone does who has only the binary: no configuration at all.
    pub(crate) fn unconfigured(binary: &Path) -> Result<Self> {
        Self::start(folder()?, Command::new(binary).args(["serve", "--json", "--listen", "127.0.0.1:0"]), None)
    }

    fn start(folder: TempDir, command: &mut Command, emulator: Option<Emulator>) -> Result<Self> {
        let (gateway, ready) = start(command, folder.path(), "gateway")?;
        let path = |name| text(&ready, name).map(|found| folder.path().join(found));
        Ok(Self {
            plain: text(&ready, "gateway")?,
            tls: text(&ready, "gateway_tls")?,
            ca_file: path("ca_file")?,
            key_file: path("demo_key_file")?,
            folder,
            gateway,
            emulator,
        })
    }

    /// A folder that ends with the gateway.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends everything, and tells what was found in what it left behind; `output` is what the clients printed.
    pub(crate) fn end(mut self, output: &str, place: &str) -> Result<Vec<Check>> {
        let key = fs::read_to_string(&self.key_file).context("cannot read the demo key")?;
        let key = Canary::new("the client's key", key.trim());
        let wrong = Canary::new("a wrong key", WRONG_KEY);
        let upstream = Canary::new("the real key", UPSTREAM_KEY);

        let mode = fs::metadata(&self.key_file).context("cannot look at the demo key")?.permissions().mode();
        let private = if mode & 0o077 == 0 { Vec::new() } else { vec![format!("its mode is {:o}", mode & 0o777)] };
        let record = self.emulator.as_ref().map(Emulator::record).transpose()?;
        let mut leaks = self.leaks(&[&key, &wrong, &upstream])?;
        let ended = if self.gateway.end() {
            Vec::new()
        } else {
            vec!["it had to be killed, or said so by its code".to_owned()]
        };
        if let Some(emulator) = &mut self.emulator {
            emulator.process.end();
        }
        leaks.extend(self.leaks(&[&key, &wrong, &upstream])?);
        if upstream.is_in(output.as_bytes()) {
            leaks.push(format!("{} in what a client was told", upstream.name()));
        }
        leaks.sort();
        leaks.dedup();

        let mut checks = vec![
            check(place, "the demo key is for its owner alone", private),
            check(place, "the gateway ends in order", ended),
            check(place, "no credential in its output or its files", leaks),
        ];
        if let Some(record) = record {
            checks.push(check(place, "no client's key went upstream", crossed(&record, &[&key, &wrong])));
            checks.push(check(place, "the real key went upstream in its header alone", misplaced(&record, &upstream)?));
        }
        Ok(checks)
    }

    /// Keeps what was printed beside `log`, for a person to read.
    pub(crate) fn keep(&self, log: &Path) {
        for name in ["gateway", "emulator"] {
            for stream in ["stdout", "stderr"] {
                let from = self.folder.path().join(format!("{name}.{stream}"));
                let _ = fs::copy(from, log.with_extension(format!("{name}.{stream}")));
            }
        }
    }

    fn leaks(&self, canaries: &[&Canary]) -> Result<Vec<String>> {
        let secret = self.folder.path().join("upstream.key");
        let mut leaks = Vec::new();
        for canary in canaries {
            let files = canary.files(self.folder.path(), &[&self.key_file, &secret])?;
            leaks.extend(files.into_iter().map(|file| format!("{} in `{file}`", canary.name())));
        }
        Ok(leaks)
    }
}

impl Emulator {
    /// All that it received so far.
    fn record(&self) -> Result<Value> {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).context("the emulator is gone")?;
        stream.set_read_timeout(Some(READY_LIMIT)).context("cannot set a time limit")?;
        // HTTP/1.0: the answer ends with the connection and is not chunked.
        write!(stream, "GET /emulator/record HTTP/1.0\r\nHost: {address}\r\n\r\n")
            .context("cannot ask the emulator")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("cannot read the emulator's record")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the emulator's answer has no body")?;
        if !head.contains(" 200 ") {
            bail!("the emulator does not show its record: `{}`", head.lines().next().unwrap_or_default());
        }
        serde_json::from_str(body).context("the emulator's record is not JSON")
    }
}

/// Where the emulator received one of a client's `keys`: nowhere, if all is well.
fn crossed(record: &Value, keys: &[&Canary]) -> Vec<String> {
    let mut found = Vec::new();
    for request in requests(record) {
        let keys = keys.iter().filter(|key| key.is_in(request.to_string().as_bytes()));
        found.extend(keys.map(|key| format!("{} in {}", key.name(), shown(request))));
    }
    found
}

/// Where the emulator received the real `key` but should not have, and requests that came without it.
fn misplaced(record: &Value, key: &Canary) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut seen = 0;
    for request in requests(record).iter().filter(|request| request["path"] != "/emulator/record") {
        seen += 1;
        let mut rest = request.clone();
        let parts = rest.as_object_mut().context("a recorded request is not an object")?;
        let (headers, credentials) = (parts.remove("headers"), parts.remove("credentials"));
        if key.is_in(rest.to_string().as_bytes()) {
            found.push(format!("outside of the headers of {}", shown(request)));
        }
        let holds = |value: &Value| value.as_str().is_some_and(|value| key.is_in(value.as_bytes()));
        let headers = headers.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let headers = headers.iter().filter(|pair| holds(&pair[1]));
        let headers: Vec<String> = headers.map(|pair| format!("header:{}", pair[0].as_str().unwrap_or("?"))).collect();
        if !matches!(headers.as_slice(), [place] if UPSTREAM_PLACES.contains(&place.as_str())) {
            found.push(format!("in {headers:?} of {}", shown(request)));
        }
        let credentials = credentials.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if credentials.len() != 1 {
            found.push(format!("{} credentials in {}", credentials.len(), shown(request)));
        }
    }
    if seen == 0 {
        found.push("the emulator received nothing".to_owned());
    }
    Ok(found)
}

fn requests(record: &Value) -> &[Value] {
    let requests = record.get("requests").unwrap_or(record);
    requests.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn shown(request: &Value) -> String {
    format!("{} {}", request["method"].as_str().unwrap_or("?"), request["path"].as_str().unwrap_or("?"))
}

fn check(place: &str, name: &str, problems: Vec<String>) -> Check {
    let failure = if problems.is_empty() { None } else { Some(problems.join("; ")) };
    Check { name: format!("{place}: {name}"), failure }
}

fn folder() -> Result<TempDir> {
    tempfile::Builder::new().prefix("keymoat-suite-").tempdir().context("cannot make a temporary folder")
}

/// Starts `command` in `folder`, its outputs in files there, and waits for the object that it prints when it is ready.
fn start(command: &mut Command, folder: &Path, name: &str) -> Result<(Running, Value)> {
    let (stdout, stderr) = (folder.join(format!("{name}.stdout")), folder.join(format!("{name}.stderr")));
    command.current_dir(folder).stdout(process::append(&stdout)?).stderr(process::append(&stderr)?);
    let mut running = Running::start(command)?;
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let printed = fs::read_to_string(&stdout).unwrap_or_default();
        if let Some((line, _)) = printed.split_once('\n') {
            let ready = serde_json::from_str(line).with_context(|| format!("the {name}'s first line is not JSON"))?;
            return Ok((running, ready));
        }
        let ended = running.ended()?;
        if ended.is_some() || Instant::now() >= deadline {
            let said = fs::read_to_string(&stderr).unwrap_or_default();
            let how = ended.map_or("is not ready in time".to_owned(), |status| format!("ended at once, {status}"));
            bail!("the {name} {how}: {}", said.trim());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn text(ready: &Value, name: &str) -> Result<String> {
    let found = ready.get(name).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("the ready object has no `{name}`"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use serde_json::json;

    use super::*;

    fn request(query: Option<&str>, headers: Value, body: &str) -> Value {
        let credentials = json!([{ "place": "header:x-goog-api-key", "value": UPSTREAM_KEY }]);
        json!([{ "method": "GET", "path": "/p", "query": query, "headers": headers, "credentials": credentials, "body": body }])
    }

    #[test]
    fn accepts_the_real_key_in_its_header_alone() {
        let key = Canary::new("the real key", UPSTREAM_KEY);
        let good = json!([["x-goog-api-key", UPSTREAM_KEY], ["accept", "*/*"]]);
        assert!(misplaced(&request(None, good.clone(), ""), &key).unwrap().is_empty());
        let bad = [
            request(Some(&format!("key={UPSTREAM_KEY}")), good.clone(), ""),
            request(None, good, UPSTREAM_KEY),
            request(None, json!([["x-goog-api-key", UPSTREAM_KEY], ["referer", UPSTREAM_KEY]]), ""),
            request(None, json!([["authorization", UPSTREAM_KEY]]), ""),
            request(None, json!([]), ""),
            json!([]),
        ];
        for record in bad {
            assert!(!misplaced(&record, &key).unwrap().is_empty(), "{record}");
        }
    }

    #[test]
    fn notices_a_clients_key_anywhere_upstream() {
        let key = Canary::new("the client's key", WRONG_KEY);
        assert!(crossed(&request(None, json!([["x-goog-api-key", UPSTREAM_KEY]]), "hello"), &[&key]).is_empty());
        assert_eq!(crossed(&request(None, json!([["cookie", WRONG_KEY]]), ""), &[&key]).len(), 1);
        assert_eq!(crossed(&request(None, json!([]), WRONG_KEY), &[&key]).len(), 1);
    }
}
