//! Drives the gateway's parts through the doors that clients use.

mod differential;
mod gated;
