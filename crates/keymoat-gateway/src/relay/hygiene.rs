//! Takes out of an upstream's answer what belongs to one connection, and what speaks to the gateway alone.

use http::header::{self, HeaderMap, HeaderName};

/// Headers that speak of one connection only (RFC 9110 section 7.6.1), and those by which an upstream would speak to us
/// as its client: its cookies and its challenges are not for the gateway's clients.
const NOT_RETURNED: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("alt-svc"),
];

/// Fields that have their meaning in a head alone: framing, routing, and how the content is to be read or kept (RFC 9110
/// section 6.5.1). A client that merges trailers into the head must not get by them what the head did not say.
const HEAD_ONLY: [HeaderName; 12] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::HOST,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
];

/// Cleans the head of an answer.
pub(crate) fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE)
        .collect();
    for name in named.iter().chain(&NOT_RETURNED) {
        headers.remove(name);
    }
}

/// Cleans the trailers of an answer.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    clean(trailers);
    let cors: Vec<HeaderName> =
        trailers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in cors.iter().chain(&HEAD_ONLY) {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(clean: fn(&mut HeaderMap)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("set-cookie", "upstream=1"),
            ("www-authenticate", "Basic"),
            ("content-type", "text/plain"),
            ("access-control-allow-origin", "*"),
            ("grpc-status", "0"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        clean(&mut headers);
        let mut left: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        left.sort();
        left
    }

    #[test]
    fn what_speaks_of_one_connection_is_not_returned() {
        assert_eq!(left(clean), ["access-control-allow-origin", "content-type", "grpc-status"]);
    }

    #[test]
    fn trailers_say_nothing_that_belongs_into_a_head() {
        assert_eq!(left(clean_trailers), ["grpc-status"]);
    }
}
