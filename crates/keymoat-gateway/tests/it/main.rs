//! Drives the gateway and its parts through the doors that clients use.

mod behind;
mod differential;
mod gated;
mod group_a_http;
mod group_a_http2;
mod group_a_streams;
mod group_b_websocket;
mod group_c_credentials;
mod group_g_upstreams;
mod group_h_overload;
mod http2_limits;
mod limits;
mod negotiation;
mod openai;
mod origins;
mod pipelining;
mod raw_http2;
mod relay;
mod reload;
mod road;
mod scripted;
mod slow_readers;
mod smuggling;
mod stand;
mod tls_and_http2;
