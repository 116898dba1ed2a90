//! Drives the gateway and its parts through the doors that clients use.

mod differential;
mod gated;
mod relay;
mod road;
mod stand;
