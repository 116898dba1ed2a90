//! `[tls]`: whether TLS is served, with which certificate, and what is asked of clients.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use keymoat_gateway::tls::server::{Demands, MinVersion};

use super::file::{self, At, File};
use super::problem::unknown;
use super::{Reader, address, tls_address_beside};

/// Whether and how TLS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all, and so on loopback only.
    Disabled,
    /// Not here: a proxy in front does, and is believed about its clients where it is trusted.
    BehindProxy,
    /// With a certificate of Keymoat's own authority.
    SelfSigned { listen: SocketAddr },
    /// With a certificate chain and its key, both PEM files.
    Provided { listen: SocketAddr, cert: PathBuf, key: PathBuf },
}

/// What `mode` takes.
pub(crate) const MODES: [&str; 4] = ["disabled", "self_signed", "provided", "behind_proxy"];

/// What `min_version` takes.
pub(crate) const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];

impl Tls {
    /// Whether plain text may be served beyond loopback.
    pub(crate) fn allows_plain_text(&self) -> bool {
        matches!(self, Self::BehindProxy)
    }
}

/// Reads the section; `data` is the address of plain text.
pub(crate) fn tls(read: &mut Reader<'_>, file: &File, data: SocketAddr) -> (Tls, Demands) {
    let tls = mode(read, file, data);
    let demands = match &tls {
        Tls::SelfSigned { .. } | Tls::Provided { .. } => demands(read, &file.tls),
        Tls::Disabled | Tls::BehindProxy => {
            let message = "needs a mode that serves TLS: self_signed or provided";
            let settings = [
                ("client_ca", file.tls.client_ca.as_ref().map(At::span)),
                ("verify_client", file.tls.verify_client.as_ref().filter(|on| *on.get_ref()).map(At::span)),
                ("min_version", file.tls.min_version.as_ref().map(At::span)),
            ];
            settings.into_iter().for_each(|(name, span)| unused(read, span, name, message));
            Demands::default()
        }
    };
    (tls, demands)
}

fn mode(read: &mut Reader<'_>, file: &File, data: SocketAddr) -> Tls {
    let listen = read.judge(file.listen.data_tls.as_ref(), |text| address(text)).unwrap_or(tls_address_beside(data));
    let mode = file.tls.mode.as_ref().map_or("self_signed", |mode| mode.get_ref().as_str());
    if mode != "provided" {
        for (name, written) in [("cert", &file.tls.cert), ("key", &file.tls.key)] {
            unused(read, written.as_ref().map(At::span), name, "belongs to mode = \"provided\"");
        }
    }
    if matches!(mode, "disabled" | "behind_proxy")
        && let Some(written) = &file.listen.data_tls
    {
        let message = format!("there is no TLS with [tls] mode = \"{mode}\": leave one of both out");
        read.report(written.span(), message);
    }
    match mode {
        "disabled" => {
            let place = file.tls.mode.as_ref().map(|mode| read.place(&mode.span()));
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            read.warn(format!(
                "{place}TLS is disabled, so keys travel in clear text, and so plain text is served on loopback only: use \
                 self_signed (a certificate of Keymoat's own authority), provided (your own), or behind_proxy where \
                 something in front serves TLS"
            ));
            Tls::Disabled
        }
        "behind_proxy" => {
            if file.listen.trusted_proxies.is_none() {
                read.warn(
                    "[tls] mode is \"behind_proxy\", but [listen] trusted_proxies names none: clients are seen with the \
                     proxy's address"
                        .to_owned(),
                );
            }
            Tls::BehindProxy
        }
        "self_signed" => Tls::SelfSigned { listen },
        "provided" => match (&file.tls.cert, &file.tls.key) {
            (Some(cert), Some(key)) => {
                Tls::Provided { listen, cert: read.watched_path(cert), key: read.watched_path(key) }
            }
            _ => {
                let message =
                    "mode = \"provided\" needs both cert = \"/path/to/chain.pem\" and key = \"/path/to/key.pem\"";
                read.report(span_of_mode(&file.tls), message.to_owned());
                Tls::Disabled
            }
        },
        other => {
            read.report(span_of_mode(&file.tls), unknown("mode", other, &MODES));
            Tls::Disabled
        }
    }
}

fn demands(read: &mut Reader<'_>, file: &file::Tls) -> Demands {
    let min_version = read.judge(file.min_version.as_ref(), |word| match word.trim_start_matches("TLSv") {
        "1.2" => Ok(MinVersion::Tls12),
        "1.3" => Ok(MinVersion::Tls13),
        _ => Err(unknown("version", word, &TLS_VERSIONS)),
    });
    let verify = file.verify_client.as_ref().map(|verify| *verify.get_ref());
    let client_ca = match (&file.client_ca, verify) {
        (Some(ca), None | Some(true)) => Some(read.watched_path(ca)),
        (Some(ca), Some(false)) => {
            let place = read.place(&ca.span());
            read.warn(format!("{place}: clients are not asked for certificates, because `verify_client` is false"));
            None
        }
        (None, Some(true)) => {
            let span = file.verify_client.as_ref().map_or(0..0, At::span);
            read.report(span, "`verify_client` needs client_ca = \"/path/to/authorities.pem\"".to_owned());
            None
        }
        (None, None | Some(false)) => None,
    };
    Demands { min_version: min_version.unwrap_or_default(), client_ca }
}

/// A setting that another one makes meaningless: a mistake in a file, but only to be told where it comes with the
/// variables of a whole environment.
fn unused(read: &mut Reader<'_>, span: Option<Range<usize>>, name: &str, message: &str) {
    let Some(span) = span else { return };
    if read.is_of_backend(&span) {
        let place = read.place(&span);
        read.warn(format!("{place} is not used: `{name}` {message}"));
    } else {
        read.report(span, format!("`{name}` {message}"));
    }
}

fn span_of_mode(file: &file::Tls) -> Range<usize> {
    file.mode.as_ref().map_or(0..0, At::span)
}
