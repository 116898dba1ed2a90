//! How the database is reached: its URL, TLS, and what every connection is told first.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use keymoat_core::Secret;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, NoTlsStream};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{failed, unreachable};
use crate::BUSY_WAIT;
use crate::error::StoreError;

/// So many connections do what is neither a claim nor a look-up of a token.
const CONNECTIONS_MAX: usize = 8;

/// How long a connection may take, TLS and sign-in included.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(3);

/// How long the other end may be silent before its connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What every connection is told. What an administrator has set stronger stays: only what would take back an
/// acknowledged commit is put right.
const SESSION: &str = "
    SET search_path = keymoat;
    SET statement_timeout = '5s';
    SET lock_timeout = '2s';
    SET idle_in_transaction_session_timeout = '5s';
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local');";

/// A database that is known by its URL. Whoever shows it sees no password.
#[derive(Clone)]
pub(crate) struct Link {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    shown: Arc<str>,
    /// How many warnings came on connections of its pools.
    warnings: Arc<AtomicU64>,
}

/// Opens the connections of a pool, which count the warnings that come on them.
struct Opener(Link);

/// What carries a connection's messages.
pub(super) enum Wire {
    Plain(Box<Connection<Socket, NoTlsStream>>),
    Tls(Box<Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>>),
}

/// A connection of a pool, and what carries it.
type Opened = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

/// What the URL says about TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tls {
    /// None.
    Off,
    /// Always, and verified: by the machine's own authorities or those of a file.
    Verified(Option<PathBuf>),
}

impl Link {
    /// Reads a URL as libpq knows them; `sslmode` and `sslrootcert` mean what the module's documentation says.
    ///
    /// # Errors
    /// A URL that names no database. It is never repeated, because it may hold a password.
    pub(super) fn parse(url: &Secret) -> Result<Self, StoreError> {
        // A URL may hold a password: what is read of it goes into the driver's own configuration.
        let bytes = url.expose();
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))?;
        let (rest, mode, roots) = split_tls(text.trim())?;
        let mut config: Config = rest.parse().map_err(|_| {
            invalid("write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with `%40` for an `@` in a password")
        })?;
        if config.get_hosts().is_empty() {
            return Err(invalid("it names no host"));
        }
        let tls = tls_of(&config, mode.as_deref(), roots)?;
        config
            .ssl_mode(if tls == Tls::Off { SslMode::Disable } else { SslMode::Require })
            // After a failover the old server may still answer, and a standby takes no writes.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .application_name("keymoat")
            .connect_timeout(CONNECT_WAIT)
            .tcp_user_timeout(SILENCE_MAX)
            .keepalives_idle(SILENCE_MAX);
        let shown = shown(&config);
        let tls = match tls {
            Tls::Off => None,
            Tls::Verified(roots) => Some(MakeRustlsConnect::new(client_config(roots)?)),
        };
        Ok(Self { config, tls, shown: shown.into(), warnings: Arc::default() })
    }

    /// The database's host, port and name, for people.
    pub(super) fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// A pool for what is neither a claim nor a look-up.
    pub(super) fn pool(&self) -> Result<Pool, StoreError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(self.config.clone(), Opener(self.clone()), recycling);
        let told = deadpool_postgres::Hook::async_fn(|client, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(deadpool_postgres::HookError::Backend) })
        });
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(BUSY_WAIT))
            .create_timeout(Some(CONNECT_WAIT))
            .recycle_timeout(Some(BUSY_WAIT))
            .post_create(told)
            .build();
        pool.map_err(|_| StoreError::Unavailable)
    }

    /// Asks the server to give up what it does on a connection that nobody waits for any more. Without it that would wait
    /// on for a lock, or for a standby that may never come, and keep its place among the server's connections.
    pub(super) async fn cancel(&self, token: CancelToken) {
        let ask = async {
            match &self.tls {
                None => token.cancel_query(NoTls).await,
                Some(tls) => token.cancel_query(tls.clone()).await,
            }
        };
        // A server that does not hear it ends the connection when it notices that nobody is there.
        let _ = timeout(CONNECT_WAIT, ask).await;
    }

    /// A connection of its own, which whoever asked drives by its wire.
    pub(super) async fn connect(&self) -> Result<(Client, Wire), StoreError> {
        self.open().await.map_err(|error| unreachable(&self.shown, &error))
    }

    /// How many warnings came so far on connections of pools.
    pub(super) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Acquire)
    }

    async fn open(&self) -> Result<(Client, Wire), tokio_postgres::Error> {
        Ok(match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, Wire::Plain(Box::new(connection)))
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, Wire::Tls(Box::new(connection)))
            }
        })
    }
}

impl Connect for Opener {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(async {
            let (client, wire) = self.0.open().await?;
            let warnings = Arc::clone(&self.0.warnings);
            let count = move || {
                warnings.fetch_add(1, Ordering::AcqRel);
            };
            Ok((client, tokio::spawn(wire.carry(count))))
        })
    }
}

impl Wire {
    /// Carries the connection's messages to its end, and tells of each warning before whatever came after it.
    pub(super) async fn carry(mut self, warned: impl Fn()) {
        while let Some(Ok(message)) = poll_fn(|cx| self.poll_message(cx)).await {
            if matches!(&message, AsyncMessage::Notice(notice) if notice.severity() == "WARNING") {
                warned();
            }
        }
    }

    /// The next message that is no answer; none when the connection has ended.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> {
        match self {
            Self::Plain(connection) => connection.poll_message(cx),
            Self::Tls(connection) => connection.poll_message(cx),
        }
    }
}

/// Tells a connection what every one is told.
pub(super) async fn introduce(client: &Client) -> Result<(), StoreError> {
    client.batch_execute(SESSION).await.map_err(|error| failed(&error))
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.shown)
    }
}

/// Takes `sslmode` and `sslrootcert` out of the query, because the driver knows neither whole.
fn split_tls(url: &str) -> Result<(String, Option<String>, Option<PathBuf>), StoreError> {
    let Some((front, query)) = url.split_once('?') else { return Ok((url.to_owned(), None, None)) };
    let (mut mode, mut roots, mut others) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            Some(("sslrootcert", value)) => {
                let path = decoded(value).ok_or_else(|| invalid("`sslrootcert` is no path"))?;
                roots = Some(PathBuf::from(path)).filter(|path| path.as_os_str() != "system");
            }
            Some(("sslcert" | "sslkey" | "sslpassword", _)) => {
                return Err(invalid("client certificates are not known here: use a password"));
            }
            _ => others.push(pair),
        }
    }
    let rest = if others.is_empty() { front.to_owned() } else { format!("{front}?{}", others.join("&")) };
    Ok((rest, mode, roots))
}

fn tls_of(config: &Config, mode: Option<&str>, roots: Option<PathBuf>) -> Result<Tls, StoreError> {
    match mode {
        Some("disable") => Ok(Tls::Off),
        Some("require" | "verify-ca" | "verify-full") => Ok(Tls::Verified(roots)),
        Some(_) => Err(invalid("`sslmode` is `verify-full`, or `disable` for a connection that nobody else can reach")),
        None if config.get_hosts().iter().all(is_local) && roots.is_none() => Ok(Tls::Off),
        None => Ok(Tls::Verified(roots)),
    }
}

/// What does not leave this machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
    }
}

fn client_config(roots: Option<PathBuf>) -> Result<ClientConfig, StoreError> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let unreadable = |_| StoreError::DatabaseRoots { path: path.clone() };
            for certificate in CertificateDer::pem_file_iter(&path).map_err(unreadable)? {
                let added = certificate.ok().and_then(|certificate| store.add(certificate).ok());
                added.ok_or_else(|| StoreError::DatabaseRoots { path: path.clone() })?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| invalid("TLS cannot be set up"))?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

fn shown(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<String> = hosts.collect();
    let ports: Vec<String> = config.get_ports().iter().map(ToString::to_string).collect();
    let port = if ports.is_empty() { String::new() } else { format!(":{}", ports.join(",")) };
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{}{port}/{database}", hosts.join(","))
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                tail
            }
            (b'%', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

fn invalid(why: &'static str) -> StoreError {
    StoreError::DatabaseUrl { why }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tls(url: &str) -> Result<Tls, String> {
        let (rest, mode, roots) = split_tls(url).map_err(|error| error.to_string())?;
        tls_of(&rest.parse().unwrap(), mode.as_deref(), roots).map_err(|error| error.to_string())
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_and_verified_unless_the_url_says_otherwise() {
        assert_eq!(tls("postgres://db.example/keymoat"), Ok(Tls::Verified(None)));
        assert_eq!(tls("postgres://127.0.0.1/keymoat"), Ok(Tls::Off));
        assert_eq!(tls("postgres://%2Frun%2Fpostgresql/keymoat"), Ok(Tls::Off));
        assert_eq!(tls("postgres://127.0.0.1,db.example/keymoat"), Ok(Tls::Verified(None)));
        assert_eq!(tls("postgres://db.example/k?sslmode=disable"), Ok(Tls::Off));
        assert_eq!(tls("postgres://db.example/k?sslmode=require"), Ok(Tls::Verified(None)));
        let own = "postgres://localhost/k?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem&application_name=x";
        assert_eq!(tls(own), Ok(Tls::Verified(Some("/etc/my ca.pem".into()))));
        assert_eq!(tls("postgres://localhost/k?sslrootcert=/ca"), Ok(Tls::Verified(Some("/ca".into()))));
        for half in ["prefer", "allow", ""] {
            assert!(tls(&format!("postgres://db.example/k?sslmode={half}")).is_err(), "{half}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_not_repeated_and_one_that_is_shows_no_password() {
        for bad in [
            "canary",
            "postgres://u:canary@h/db?sslmode=canary",
            "postgres://u:canary@h/db?canary=1",
            "postgres://u:canary@h:port/db",
            "postgres://u:canary@/db?sslcert=x&host=h",
        ] {
            let error = Link::parse(&Secret::from(bad)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
        let link = Link::parse(&Secret::from("postgres://u:canary@127.0.0.1:5433/db")).unwrap();
        assert_eq!(format!("{link:?}"), "Link(postgres://127.0.0.1:5433/db)");
    }
}
