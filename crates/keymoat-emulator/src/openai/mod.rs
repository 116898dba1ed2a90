//! The OpenAI surface: Realtime, client secrets, chat completions, responses and models, with OpenAI's words for what is
//! refused.

pub(crate) mod admission;
pub(crate) mod config;
pub(crate) mod fault;
pub(crate) mod heard;
pub(crate) mod item;
pub(crate) mod realtime;
pub(crate) mod response;
pub(crate) mod rest;
pub(crate) mod secret;
pub(crate) mod session;
