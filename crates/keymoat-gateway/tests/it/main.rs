//! What the gateway does on real sockets.

mod relay;
