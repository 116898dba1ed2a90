//! The real binary, as its users run it.

mod canary;
mod check;
mod config_show;
mod configurations;
mod drop_in;
mod emulate;
mod explain;
mod harness;
mod help;
mod json_schema;
mod keys;
mod minting;
mod openai;
mod redact;
mod reload;
mod scan;
mod schema;
mod serve;
mod settings_page;
mod tidy;
mod tls;
mod tokens;
mod upstream_test;
mod upstreams;
mod withheld;
mod ws;
