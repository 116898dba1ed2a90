//! Opens the connection: address, TLS, handshake, and what a refusal says.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http::{Request, Response};
use keymoat_core::Mistake;
use keymoat_gateway::tls;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::reaching;
use super::target::Target;

/// How long an opening may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest message that is taken.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A stream, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// An opening that was answered, but not with a WebSocket.
pub(super) enum Refused {
    /// An HTTP status, with the beginning of the body.
    Status(u16, Vec<u8>),
    /// The negotiation of subprotocols failed.
    Subprotocol,
    /// A redirect, which is not followed with a credential.
    Redirect(u16),
}

impl Refused {
    /// One line about it.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Status(status, _) => format!("the opening was refused with {status}"),
            Self::Subprotocol => Mistake::SubprotocolNotSelected.text().to_owned(),
            Self::Redirect(status) => {
                format!("the server sends its clients elsewhere ({status}), which is not followed with a credential")
            }
        }
    }
}

/// Opens it, with the server's head; the inner error is a refusal.
pub(super) async fn open(
    target: &Target,
    request: Request<()>,
    ca: Option<&Path>,
) -> anyhow::Result<Result<(Socket, Response<()>), Refused>> {
    match timeout(PATIENCE, opened(target, request, ca)).await {
        Ok(opened) => opened,
        Err(_) => anyhow::bail!("{} did not answer within {} seconds", target.authority(), PATIENCE.as_secs()),
    }
}

async fn opened(
    target: &Target,
    request: Request<()>,
    ca: Option<&Path>,
) -> anyhow::Result<Result<(Socket, Response<()>), Refused>> {
    let tcp = reaching(TcpStream::connect((target.host.as_str(), target.port)).await, target)?;
    let _ = tcp.set_nodelay(true);
    if !target.tls {
        // A name could stand for any address.
        let peer = reaching(tcp.peer_addr(), target)?;
        anyhow::ensure!(peer.ip().is_loopback(), "{}", Mistake::PlainText.text());
    }
    let stream: Box<dyn Stream> = match target.tls {
        false => Box::new(tcp),
        true => {
            let config = tls::client::config(ca, tls::client::Alpn::Http1).context("--ca")?;
            let name = ServerName::try_from(target.host.clone()).ok().context("the address has no valid host")?;
            let connecting = TlsConnector::from(config).connect(name, tcp).await;
            let advice = "TLS failed, nothing was sent; for an authority of your own name its file with `--ca`";
            Box::new(reaching(connecting, target).context(advice)?)
        }
    };
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, response)) => Ok(Ok((socket, response.map(drop)))),
        Err(Error::Http(response)) if response.status().is_redirection() => {
            Ok(Err(Refused::Redirect(response.status().as_u16())))
        }
        Err(Error::Http(response)) => {
            let status = response.status().as_u16();
            Ok(Err(Refused::Status(status, response.into_body().unwrap_or_default())))
        }
        Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_))) => Ok(Err(Refused::Subprotocol)),
        Err(Error::Io(error)) => reaching(Err(error), target),
        // What the library says may repeat what was sent.
        Err(_) => anyhow::bail!("{} answered with something that is no WebSocket handshake", target.authority()),
    }
}
