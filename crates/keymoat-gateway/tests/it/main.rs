//! Drives the gateway and its parts through the doors that clients use.

mod differential;
mod gated;
mod relay;
mod negotiation;
mod road;
mod scripted;
mod smuggling;
mod stand;
