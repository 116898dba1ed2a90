//! Who is at the other end of a connection.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::permits::Permit;

/// The client's side of a connection, as far as it is known before any request.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) client: IpAddr,
    /// Whether the connection is under TLS.
    pub(crate) tls: bool,
    /// The name that its TLS handshake asked for (RFC 6066 section 3).
    pub(crate) tls_name: Option<Arc<str>>,
    /// The connection's place, held until the last of its tasks has ended.
    pub(crate) permit: Rc<Permit>,
}
