//! The gateway over real sockets.

mod road;
mod stand;
