//! Any target and headers are read or refused, and what is read can be read again to the same path.
#![no_main]

use keymoat_core::{Head, Transport, path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut builder = http::Request::builder().uri(target);
    for line in lines.take(120) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        builder = builder.header(name, value.get(1..).unwrap_or_default());
    }
    let Ok(request) = builder.body(()) else { return };
    let (parts, ()) = request.into_parts();
    for transport in [Transport::Http1, Transport::Http2] {
        let Ok(head) = Head::read(parts.clone(), transport, None) else { continue };
        assert_eq!(path::canonical(&head.path).as_deref(), Ok(head.path.as_str()));
        assert!(!head.headers.contains_key("connection") && !head.headers.contains_key("host"));
        assert!(path::shown(&head.path, None).len() <= 512);
    }
});
