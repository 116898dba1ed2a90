//! Plants three keys that nobody issued, and looks for them wherever something is written about requests.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keymoat_core::Secret;
use keymoat_core::format::{self, Kind};

use super::table::CANARY;
use super::{Finding, Outcome, Patient};

/// How much of the end of a file is searched.
const TAIL_BYTES_MAX: u64 = 64 << 20;
/// How long writers get until what they had to say is there.
const SETTLE: Duration = Duration::from_millis(1500);

/// A made-up key, and where it was planted.
struct Planted {
    place: &'static str,
    /// Whether something in front that logs addresses may have it.
    is_in_url: bool,
    text: String,
}

fn plant(place: &'static str, is_in_url: bool) -> Planted {
    let made: Secret = format::generate(Kind::Key, &mut |bytes| {
        aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
    });
    // It opens nothing: it is sent once, and looked for.
    let text = String::from_utf8_lossy(made.expose()).into_owned();
    Planted { place, is_in_url, text }
}

pub(super) fn canary(patient: &Patient) -> Finding {
    let Some(address) = patient.through.as_ref().or(patient.gateway.as_ref()) else {
        return Finding::new(CANARY, Outcome::Skipped, "nothing to send it to: name the gateway with --gateway URL");
    };
    let planted = [plant("a header", false), plant("a subprotocol", false), plant("a URL", true)];
    let [header, subprotocol, url] = &planted;
    let path = "/keymoat/v1/canary";
    let socket = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: keymoat.v1, api-key.{}\r\n",
        subprotocol.text
    );
    for (target, lines) in [
        (path.to_owned(), format!("Connection: close\r\nAuthorization: Bearer {0}\r\nX-API-Key: {0}\r\n", header.text)),
        (path.to_owned(), socket),
        (format!("{path}?api_key={}", url.text), "Connection: close\r\n".to_owned()),
    ] {
        let is_enough = |bytes: &[u8]| memchr::memmem::find(bytes, b"\r\n\r\n").is_some();
        if let Err(error) = address.ask(&target, &lines, patient.ca.as_deref(), is_enough) {
            return Finding::new(CANARY, Outcome::Fail, format!("{error:#}"));
        }
    }
    std::thread::sleep(SETTLE);
    let own = own_files(patient);
    let mut searched = 0;
    let (mut found, mut worst) = (Vec::new(), Outcome::Ok);
    for (file, is_own) in own.iter().map(|file| (file, true)).chain(patient.logs.iter().map(|file| (file, false))) {
        let Ok(tail) = tail(file) else {
            worst = worst.max(if is_own { Outcome::Ok } else { Outcome::Fail });
            if !is_own {
                found.push(format!("`{}` cannot be read", file.display()));
            }
            continue;
        };
        searched += 1;
        for planted in planted.iter().filter(|planted| memchr::memmem::find(&tail, planted.text.as_bytes()).is_some()) {
            let outcome = if planted.is_in_url && !is_own { Outcome::Warn } else { Outcome::Fail };
            worst = worst.max(outcome);
            found.push(format!("the key of {} stands in `{}`", planted.place, file.display()));
        }
    }
    match found.is_empty() {
        true if searched == 0 => Finding::new(CANARY, Outcome::Skipped, "nothing is written that could be searched"),
        true => Finding::new(CANARY, Outcome::Ok, format!("in none of {searched} files")),
        false => Finding::new(CANARY, worst, found.join(", ")),
    }
}

/// Every file that this configuration writes into.
fn own_files(patient: &Patient) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(patient.store_dir())
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
        .unwrap_or_default();
    files.extend(patient.config.events.file.clone());
    files
}

fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Seek;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    Ok(tail)
}
