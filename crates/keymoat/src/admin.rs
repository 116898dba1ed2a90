//! Puts the admin listener together with what it shows and steers.

use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use keymoat_admin::listener::{self, Listening, StartError, new_claim_link};
use keymoat_admin::{Configured, ConfiguredUpstream, House, Setting};
use keymoat_core::{Dialect, Secret, UnixMillis};
use keymoat_gateway::settings::Listener;
use keymoat_gateway::tls;
use keymoat_gateway::tls::server::Demands;
use keymoat_store::Store;
use rustls::ServerConfig;

use crate::config::{Admin, Certificate, Config, Shown};

/// The socket for commands, in the store's folder.
pub(crate) const SOCKET_FILE: &str = "admin.sock";

/// What of a configuration the admin API shows.
pub(crate) fn configured(config: &Config, settings: Vec<Shown>) -> Configured {
    let settings = settings.into_iter().map(|shown| Setting {
        value: shown.json(),
        section: shown.section,
        name: shown.name.to_owned(),
        source: shown.source,
    });
    let upstreams = config.upstreams.iter().map(|upstream| {
        let name = upstream.name.to_string();
        let dialect = config.dialects.get(&name).copied().unwrap_or(Dialect::Generic);
        let secret = config.secret_references.get(&name).map(ToString::to_string);
        (name, ConfiguredUpstream { dialect, secret })
    });
    Configured {
        settings: settings.collect(),
        upstreams: upstreams.collect(),
        keys: config.keys.iter().map(|key| Arc::clone(&key.id)).collect(),
    }
}

/// The certificate of the admin listener; `listeners` are the gateway's. It speaks HTTP/1.1 only.
///
/// # Errors
/// A certificate or key that cannot be read or used.
pub(crate) fn certificate(
    admin: &Admin,
    config: &Config,
    listeners: &[Listener],
) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let mut found = match &admin.certificate {
        Certificate::None => return Ok(None),
        Certificate::OfTls => {
            let of_data = listeners.iter().find_map(|listener| listener.tls.as_ref());
            of_data.map(|config| ServerConfig::clone(config)).context("[admin] listen: there is no TLS in [tls]")?
        }
        Certificate::Own { cert, key } => {
            let demands = Demands { min_version: config.tls_demands.min_version, client_ca: None };
            tls::server::from_files(cert, key, &demands).context("[admin] cert and key")?
        }
    };
    found.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(found)))
}

/// Starts the listener, with further pages `more`. A default address that is taken gives way to a free one, so that two gateways fit on one machine.
///
/// # Errors
/// What keeps it from starting, with what to do.
pub(crate) fn start(
    house: House,
    (admin, more): (&Admin, axum::Router),
    certificate: Option<Arc<ServerConfig>>,
    store_dir: &Path,
    handed: Option<TcpListener>,
) -> anyhow::Result<Arc<Listening>> {
    let settings = |address: SocketAddr, handed| listener::Settings {
        address,
        tls: certificate.clone(),
        hosts: admin.hosts.clone(),
        socket_file: Some(store_dir.join(SOCKET_FILE)),
        handed,
    };
    let started = listener::start(house.clone(), settings(admin.listen, handed), more.clone());
    let started = match started {
        Err(StartError::Listen(taken, error)) if !admin.is_chosen && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(%taken, "the admin listener takes a free port: write `listen` into [admin] to choose one");
            listener::start(house, settings(SocketAddr::new(taken.ip(), 0), None), more)
        }
        started => started,
    };
    let listening = started.map_err(|error| match &error {
        StartError::Listen(address, cause) if cause.kind() == io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("{address} is taken: choose another address with `listen` in [admin]")
        }
        _ => error.into(),
    })?;
    Ok(Arc::new(listening))
}

/// A link to make the first admin by, where there is none and somebody reads it.
///
/// # Errors
/// Whatever the store refuses.
pub(crate) fn first_claim(
    store: &Store,
    listening: &Listening,
    offer: Offer,
    now: UnixMillis,
) -> anyhow::Result<Claim> {
    if store.is_claimed(now)? {
        return Ok(Claim::Done);
    }
    match offer {
        Offer::Link => Ok(Claim::Link(new_claim_link(store, &listening.url(), now)?)),
        Offer::Hint => Ok(Claim::Hint),
    }
}

/// Whether a claim link may be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Somebody sits there.
    Link,
    /// What is printed may be kept by a journal: only how to get one is said.
    Hint,
}

impl Offer {
    /// A link for a person at a terminal; what goes elsewhere, also of the first run, is kept there.
    pub(crate) fn for_person(json: bool) -> Self {
        if !json && io::stdout().is_terminal() { Self::Link } else { Self::Hint }
    }
}

/// What is told of the first admin.
#[derive(Debug)]
pub(crate) enum Claim {
    /// There is one.
    Done,
    /// This link makes one.
    Link(Secret),
    /// `keymoat admin claim` prints a link.
    Hint,
}

/// What is shown, for whoever replaces it.
pub(crate) type Face = Arc<ArcSwap<Configured>>;
