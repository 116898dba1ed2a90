//! `[admin]`: where the admin listener listens, with which certificate, and by which names it goes.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::file::{At, File};
use super::tls::Tls;
use super::{Reader, address};

/// Where it listens when nothing else is said; beside a free port it is a free one.
pub(crate) const DEFAULT_PORT: u16 = 8788;

/// The longest name of a host (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Whether somebody wrote the address: then it must be this one.
    pub(crate) is_chosen: bool,
    /// Its certificate.
    pub(crate) certificate: Certificate,
    /// Names that it goes by beside `localhost` and addresses.
    pub(crate) hosts: Vec<String>,
}

/// What the admin listener proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Nothing: it is on loopback.
    None,
    /// The certificate of `[tls]`.
    OfTls,
    /// One of its own: a chain and its key, both PEM files.
    Own { cert: PathBuf, key: PathBuf },
}

/// Reads the section; `None` where there is to be no admin listener.
pub(super) fn admin(read: &mut Reader<'_>, file: &File, data: SocketAddr, tls: &Tls) -> Option<Admin> {
    let written = &file.admin;
    let listen = read.judge(written.listen.as_ref(), |text| address(text));
    let hosts: Vec<_> = written.hosts.iter().flat_map(At::get_ref).collect();
    let hosts: Vec<_> = hosts.into_iter().map(|name| read.judge(Some(name), |text| host(text))).collect();
    let own = match (&written.cert, &written.key) {
        (Some(cert), Some(key)) => {
            Some(Certificate::Own { cert: read.watched_path(cert), key: read.watched_path(key) })
        }
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            read.report(one.span(), "`cert` and `key` of [admin] belong together: write both".to_owned());
            None
        }
    };
    if written.enabled.as_ref().is_some_and(|enabled| !enabled.get_ref()) {
        return None;
    }
    let listen_at = listen.unwrap_or_else(|| beside(data));
    let certificate = match own {
        Some(own) => own,
        None if listen_at.ip().is_loopback() => Certificate::None,
        None => {
            if !matches!(tls, Tls::SelfSigned { .. } | Tls::Provided { .. }) {
                let message = "beyond loopback admin credentials need TLS: write `cert` and `key` into [admin], or a mode in [tls] \
                               that serves TLS, or 127.0.0.1 here";
                read.report(written.listen.as_ref().map_or(0..0, At::span), message.to_owned());
            }
            Certificate::OfTls
        }
    };
    let hosts = hosts.into_iter().flatten().collect();
    Some(Admin { listen: listen_at, is_chosen: listen_at != beside(data), certificate, hosts })
}

/// The address where nothing is said of it.
pub(super) fn beside(data: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], if data.port() == 0 { 0 } else { DEFAULT_PORT }))
}

/// The address beside `--listen`: one port further, on loopback.
pub(super) fn beside_flag(data: SocketAddr) -> SocketAddr {
    let port = if data.port() == 0 { 0 } else { data.port().checked_add(1).unwrap_or(0) };
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn host(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(plain) {
        return Err("this is no host name: write one such as \"admin.example\", without scheme and port".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_on_loopback_beside_the_data() {
        let of = |text: &str| beside(text.parse().expect("an address")).to_string();
        assert_eq!(of("0.0.0.0:8080"), "127.0.0.1:8788");
        assert_eq!(of("127.0.0.1:0"), "127.0.0.1:0");
        assert_eq!(beside_flag("127.0.0.1:9000".parse().expect("an address")).to_string(), "127.0.0.1:9001");
    }

    #[test]
    fn a_host_is_a_name_alone() {
        assert_eq!(host("Admin.Example"), Ok("admin.example".to_owned()));
        for wrong in ["", "https://a.example", "a.example:1", "*"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
