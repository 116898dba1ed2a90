//! The client against the emulated APIs, and against scripted servers where those are too polite.

mod canary;
mod examples;
mod live;
mod music;
mod plain;
mod resumption;
mod scripted;
mod support;
mod tls;
mod tokens;
