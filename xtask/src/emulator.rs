//! The emulated API behind a gateway under test, and what its record must and must not hold.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::canary::Canary;
use crate::process::Running;
use crate::ready;

/// The headers that take the real key upstream.
const UPSTREAM_PLACES: [&str; 3] = ["header:x-goog-api-key", "header:x-api-key", "header:authorization"];

/// An emulator that records what it is sent; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Emulator {
    process: Running,
    /// The base URL.
    pub(crate) url: String,
}

impl Emulator {
    /// Starts one in `folder` that accepts the key in the file `secret` alone.
    pub(crate) fn start(binary: &Path, folder: &Path, secret: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["emulate", "gemini", "--listen", "127.0.0.1:0", "--json", "--record", "--secret-file"])
            .arg(secret);
        let (process, ready) = ready::start(&mut command, folder, "emulator")?;
        Ok(Self { process, url: ready::text(&ready, "emulator")? })
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.process.end();
    }

    /// All that it received so far.
    pub(crate) fn record(&self) -> Result<Value> {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).context("the emulator is gone")?;
        stream.set_read_timeout(Some(ready::LIMIT)).context("cannot set a time limit")?;
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
pub(crate) fn crossed(record: &Value, keys: &[&Canary]) -> Vec<String> {
    let mut found = Vec::new();
    for request in requests(record) {
        let keys = keys.iter().filter(|key| key.is_in(request.to_string().as_bytes()));
        found.extend(keys.map(|key| format!("{} in {}", key.name(), shown(request))));
    }
    found
}

/// Where the emulator received the real `key` but should not have, and requests that came without it.
pub(crate) fn misplaced(record: &Value, key: &Canary) -> Result<Vec<String>> {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use serde_json::json;

    use super::*;

    const KEY: &str = "AIzaTestsOnly-Canary0Canary0Canary0";
    const CLIENT_KEY: &str = "km_Client0Client0Client0Client0Client0";

    fn request(query: Option<&str>, headers: Value, body: &str) -> Value {
        let credentials = json!([{ "place": "header:x-goog-api-key", "value": KEY }]);
        json!([{ "method": "GET", "path": "/p", "query": query, "headers": headers, "credentials": credentials, "body": body }])
    }

    #[test]
    fn accepts_the_real_key_in_its_header_alone() {
        let key = Canary::new("the real key", KEY);
        let good = json!([["x-goog-api-key", KEY], ["accept", "*/*"]]);
        assert!(misplaced(&request(None, good.clone(), ""), &key).unwrap().is_empty());
        let bad = [
            request(Some(&format!("key={KEY}")), good.clone(), ""),
            request(None, good, KEY),
            request(None, json!([["x-goog-api-key", KEY], ["referer", KEY]]), ""),
            request(None, json!([["proxy-authorization", KEY]]), ""),
            request(None, json!([]), ""),
            json!([]),
        ];
        for record in bad {
            assert!(!misplaced(&record, &key).unwrap().is_empty(), "{record}");
        }
    }

    #[test]
    fn notices_a_clients_key_anywhere_upstream() {
        let key = Canary::new("the client's key", CLIENT_KEY);
        assert!(crossed(&request(None, json!([["x-goog-api-key", KEY]]), "hello"), &[&key]).is_empty());
        assert_eq!(crossed(&request(None, json!([["cookie", CLIENT_KEY]]), ""), &[&key]).len(), 1);
        assert_eq!(crossed(&request(None, json!([]), CLIENT_KEY), &[&key]).len(), 1);
    }
}
