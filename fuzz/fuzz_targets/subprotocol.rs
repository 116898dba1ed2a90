//! Any offer is read or refused; nothing that is selected or offered upstream carries a credential.
#![no_main]

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use keymoat_core::Offer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(20) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
    let Ok(offer) = Offer::read(&headers) else { return };
    let labels: Vec<&str> = offer.labels().collect();
    for carrier in ["api-key.", "keymoat.token.", "openai-insecure-api-key.", "base64url.bearer.authorization.k8s.io."] {
        assert!(labels.iter().all(|label| !label.starts_with(carrier)));
        for upstream in [None, labels.last().copied()] {
            assert!(offer.select(upstream).is_none_or(|selected| !selected.starts_with(carrier)));
        }
    }
    assert!(offer.expose_lone_credential().is_none());
});
