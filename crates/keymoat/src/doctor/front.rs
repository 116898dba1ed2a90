//! What is asked over the network: the gateway itself, the way to it through proxies, and the upstreams behind.

use std::time::Duration;

use http::Uri;
use keymoat_core::Dialect;
use keymoat_gateway::settings::{Inject, Upstream};
use keymoat_gateway::{Probe, probe};

use super::table::{CLOCK, EVENTS, READY, SUBPROTOCOLS, UPSTREAM};
use super::{Finding, Outcome, Patient};

/// What makes a request a WebSocket's, with the two subprotocols of a browser's client.
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                         Sec-WebSocket-Protocol: keymoat.v1, keymoat.probe\r\n";

pub(super) fn ready(patient: &Patient) -> Finding {
    let Some(gateway) = &patient.gateway else {
        return Finding::new(READY, Outcome::Skipped, "its port is chosen at the start: name it with --gateway URL");
    };
    let asked = gateway.ask("/keymoat/readyz", "Connection: close\r\n", patient.ca.as_deref(), |_| false);
    match asked.map(|answered| answered.status()) {
        Ok(Some(200)) => Finding::new(READY, Outcome::Ok, format!("{gateway} takes new work")),
        Ok(Some(status)) => Finding::new(READY, Outcome::Fail, format!("{gateway} answers {status}")),
        Ok(None) => Finding::new(READY, Outcome::Fail, format!("{gateway} speaks no HTTP")),
        Err(error) => Finding::new(READY, Outcome::Fail, format!("{error:#}")),
    }
}

pub(super) fn subprotocols(patient: &Patient) -> Finding {
    let Some(through) = &patient.through else {
        return Finding::new(SUBPROTOCOLS, Outcome::Skipped, "no --through URL");
    };
    let is_enough = |bytes: &[u8]| memchr::memmem::find(bytes, b"}").is_some();
    let answered = match through.ask("/keymoat/v1/probe/websocket", WEBSOCKET, patient.ca.as_deref(), is_enough) {
        Ok(answered) => answered,
        Err(error) => return Finding::new(SUBPROTOCOLS, Outcome::Fail, format!("{error:#}")),
    };
    let text = String::from_utf8_lossy(&answered.bytes);
    let (head, told) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    if answered.status() != Some(101) {
        let status = answered.status().map_or_else(|| "no HTTP".to_owned(), |status| status.to_string());
        return Finding::new(
            SUBPROTOCOLS,
            Outcome::Fail,
            format!("a WebSocket is answered with {status}, not with 101"),
        );
    }
    if !told.contains("keymoat.probe") {
        return Finding::new(SUBPROTOCOLS, Outcome::Fail, "`Sec-WebSocket-Protocol` was dropped on the way to Keymoat");
    }
    if !head.to_ascii_lowercase().contains("sec-websocket-protocol: keymoat.probe") {
        return Finding::new(SUBPROTOCOLS, Outcome::Fail, "the selected subprotocol was dropped on the way back");
    }
    Finding::new(SUBPROTOCOLS, Outcome::Ok, format!("they pass through {through}, there and back"))
}

pub(super) fn events(patient: &Patient) -> Finding {
    let Some(through) = &patient.through else {
        return Finding::new(EVENTS, Outcome::Skipped, "no --through URL");
    };
    // As a browser asks: a proxy that compresses event streams holds them back until it has enough.
    let lines = "Accept: text/event-stream\r\nAccept-Encoding: gzip\r\nConnection: close\r\n";
    let is_enough = |bytes: &[u8]| memchr::memmem::find(bytes, b"piece 5 of 5").is_some();
    let answered = match through.ask("/keymoat/v1/probe/events", lines, patient.ca.as_deref(), is_enough) {
        Ok(answered) => answered,
        Err(error) => return Finding::new(EVENTS, Outcome::Fail, format!("{error:#}")),
    };
    let plain = answered.when("piece 1 of 5").zip(answered.when("piece 5 of 5"));
    let took = match plain {
        Some((first, last)) => Some(last.saturating_sub(first)),
        None => answered.body_took().filter(|_| answered.is_coded()),
    };
    let Some(took) = took else {
        let status = answered.status().unwrap_or_default();
        return Finding::new(EVENTS, Outcome::Fail, format!("the event stream did not arrive (status {status})"));
    };
    // Sent over 800 ms: what comes within half of that was held back somewhere.
    match took >= Duration::from_millis(400) {
        true => Finding::new(EVENTS, Outcome::Ok, format!("pieces come through {through} as they are sent")),
        false => {
            let millis = took.as_millis();
            Finding::new(
                EVENTS,
                Outcome::Fail,
                format!("five pieces that are sent over 800 ms came within {millis} ms"),
            )
        }
    }
}

/// What one upstream did when it was asked.
#[derive(Debug)]
pub(crate) struct AskedUpstream {
    name: String,
    /// Whether its secret goes into the URL.
    by_url: bool,
    probe: Option<Probe>,
}

/// Asks every upstream once, with a call that changes nothing.
fn asked(patient: &mut Patient) -> &[AskedUpstream] {
    let Patient { config, asked, .. } = patient;
    asked.get_or_insert_with(|| {
        // A secret cannot be copied: the configuration gives its upstreams away here.
        let upstreams = std::mem::take(&mut config.upstreams);
        let ask = |upstream: Upstream| {
            let target = match config.dialects.get(&*upstream.name).copied().unwrap_or(Dialect::Generic) {
                Dialect::Gemini => Uri::from_static("/v1beta/models?pageSize=1"),
                Dialect::OpenAi => Uri::from_static("/v1/models"),
                Dialect::Generic => Uri::from_static("/"),
            };
            let (name, by_url) = (upstream.name.to_string(), matches!(upstream.inject, Inject::Query(_)));
            AskedUpstream { name, by_url, probe: probe(upstream, &target, &config.limits).ok() }
        };
        upstreams.into_iter().map(ask).collect()
    })
}

pub(super) fn upstreams(patient: &mut Patient) -> Finding {
    let (mut seen, mut worst) = (Vec::new(), Outcome::Ok);
    for AskedUpstream { name, by_url, probe } in asked(patient) {
        let answer = probe.as_ref().and_then(|probe| probe.answer.as_ref());
        let (outcome, text) = match answer.map(|answer| answer.status) {
            None => (Outcome::Fail, "does not answer".to_owned()),
            Some(status @ (401 | 403)) => (Outcome::Fail, format!("refuses its secret ({status})")),
            Some(_) if *by_url => (Outcome::Warn, "gets its secret in the URL, where it may be logged".to_owned()),
            Some(status) => (Outcome::Ok, format!("answers {status} to its secret in a header")),
        };
        worst = worst.max(outcome);
        seen.push(format!("`{name}` {text}"));
    }
    match seen.is_empty() {
        true => Finding::new(UPSTREAM, Outcome::Skipped, "there is no upstream"),
        false => Finding::new(UPSTREAM, worst, seen.join(", ")),
    }
}

pub(super) fn clock(patient: &mut Patient) -> Finding {
    let dates = asked(patient).iter().filter_map(|asked| asked.probe.as_ref()?.answer.as_ref()?.date_secs);
    let dates: Vec<i64> = dates.collect();
    // Of several upstreams the closest one: a wrong one among them is not the machine's fault.
    let now = crate::output::time::now().0.div_euclid(1000);
    let Some(apart) = dates.iter().map(|date| (date - now).abs()).min() else {
        return Finding::new(CLOCK, Outcome::Skipped, "no upstream says what time it is");
    };
    let outcome = match apart {
        ..30 => Outcome::Ok,
        30..300 => Outcome::Warn,
        300.. => Outcome::Fail,
    };
    Finding::new(CLOCK, outcome, format!("{apart} seconds from the clock of an upstream"))
}
