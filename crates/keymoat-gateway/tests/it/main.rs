//! Drives the gateway and its parts through the doors that clients use.

mod differential;
mod gated;
mod negotiation;
mod relay;
mod road;
mod scripted;
mod stand;
