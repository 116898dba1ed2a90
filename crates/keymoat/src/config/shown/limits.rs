//! `[limits]`, every one.

use std::time::Duration;

use keymoat_gateway::settings::Limits;
use toml::Value;

use super::super::file;
use super::{Sheet, number, text};

impl Sheet<'_> {
    pub(super) fn limits(&mut self, written: &file::Limits, limits: &Limits) {
        self.begin("limits");
        // Taken apart, so that a new limit cannot be left out.
        let file::Limits {
            connections_max,
            sessions_max,
            connections_per_address_max,
            failed_credentials_per_minute,
            head_fields_max,
            http2_streams_max,
            memory_bytes_max,
            head_bytes_max,
            url_bytes_max,
            http2_stream_window,
            http2_connection_window,
            frame_bytes_max,
            message_bytes_max,
            watched_bytes_max,
            first_message,
            tls_handshake,
            head,
            keep_alive,
            connect,
            response_head,
            body_idle,
            websocket_idle,
            ping_every,
            write_stall,
            close_wait,
            drain_after,
            drain,
        } = written;
        for (name, number, written) in [
            ("connections_max", number(limits.connections_max), connections_max),
            ("sessions_max", number(limits.sessions_max), sessions_max),
            ("head_fields_max", number(limits.head_fields_max), head_fields_max),
            ("http2_streams_max", number(limits.http2_streams_max), http2_streams_max),
        ] {
            self.row(name, number, written.as_ref(), "default");
        }
        match limits.connections_per_address_max {
            Some(most) => {
                self.row("connections_per_address_max", number(most), connections_per_address_max.as_ref(), "default");
            }
            None => self.unset("connections_per_address_max", "default: no bound"),
        }
        let failures = limits.failed_credentials.map_or(0, |patience| patience.failures_per_minute);
        let written = failed_credentials_per_minute.as_ref();
        self.row("failed_credentials_per_minute", number(failures), written, "default");
        match limits.memory_bytes_max {
            Some(bytes) => self.row("memory_bytes_max", size(bytes), memory_bytes_max.as_ref(), "default"),
            None => self.unset("memory_bytes_max", "default: no bound"),
        }
        for (name, size, written) in [
            ("head_bytes_max", size(limits.head_bytes_max as u64), head_bytes_max),
            ("url_bytes_max", size(limits.url_bytes_max as u64), url_bytes_max),
            ("http2_stream_window", size(limits.http2_stream_window.into()), http2_stream_window),
            ("http2_connection_window", size(limits.http2_connection_window.into()), http2_connection_window),
            ("frame_bytes_max", size(limits.frame_bytes_max), frame_bytes_max),
            ("message_bytes_max", size(limits.message_bytes_max), message_bytes_max),
            ("watched_bytes_max", size(limits.watched_bytes_max), watched_bytes_max),
        ] {
            self.row(name, size, written.as_ref(), "default");
        }
        for (name, duration, written) in [
            ("tls_handshake", limits.tls_handshake, tls_handshake),
            ("head", limits.head, head),
            ("keep_alive", limits.keep_alive, keep_alive),
            ("connect", limits.connect, connect),
            ("response_head", limits.response_head, response_head),
            ("body_idle", limits.body_idle, body_idle),
            ("first_message", limits.first_message, first_message),
            ("websocket_idle", limits.websocket_idle, websocket_idle),
            ("ping_every", limits.ping_every, ping_every),
            ("write_stall", limits.write_stall, write_stall),
            ("close_wait", limits.close_wait, close_wait),
            ("drain_after", limits.drain_after, drain_after),
            ("drain", limits.drain, drain),
        ] {
            match duration.is_zero() {
                true => self.unset(name, "default: at once"),
                false => self.row(name, text(text_of_duration(duration)), written.as_ref(), "default"),
            }
        }
    }
}

/// As the file takes it, in the largest unit that says it exactly.
pub(super) fn text_of_duration(duration: Duration) -> String {
    match (duration.subsec_millis(), duration.as_secs()) {
        (0, secs) if secs % 3600 == 0 => format!("{}h", secs / 3600),
        (0, secs) if secs % 60 == 0 => format!("{}m", secs / 60),
        (0, secs) => format!("{secs}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// As the file takes it, in the largest unit that says it exactly.
pub(super) fn size(bytes: u64) -> Value {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
        Some((word, unit)) => text(format!("{}{word}", bytes / unit)),
        None => number(bytes),
    }
}
