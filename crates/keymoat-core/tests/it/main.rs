//! What the core promises, driven from outside: whole heads go in, decisions come out.

mod credential;
mod error_pages;
mod mistakes_page;
mod openai;
mod promise;
mod scenario;
mod secret;
mod subprotocol;
mod vectors;
