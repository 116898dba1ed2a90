//! Puts the real key on a request: the one place in the code, and one place in the request.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use keymoat_core::head::Head;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::settings::{Inject, Upstream};

/// Puts the upstream's secret where its settings say, replacing whatever stood there.
///
/// `query` is the raw query without `?`. An upstream without a secret is left as it is.
pub(super) fn put_on(upstream: &Upstream, headers: &mut HeaderMap, query: &mut String) {
    let Some(secret) = &upstream.secret else { return };
    // The real key goes into the request for the upstream: this is what the gateway is for.
    let exposed = secret.expose();
    match &upstream.inject {
        Inject::Header(name) => {
            let value = if *name == AUTHORIZATION { [b"Bearer ", exposed].concat() } else { exposed.to_vec() };
            let mut value = HeaderValue::try_from(value).expect("checked when the settings were read");
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Inject::Query(name) => {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            query.push_str(&utf8_percent_encode(&String::from_utf8_lossy(exposed), NON_ALPHANUMERIC).to_string());
        }
    }
}

/// Takes off whatever a client put where the secret would stand, in whatever spelling: it could be read in place of the
/// real key, or try out others where there is none.
pub(super) fn take_off(upstream: &Upstream, head: &mut Head) {
    match &upstream.inject {
        Inject::Header(name) => {
            head.headers.remove(name);
        }
        Inject::Query(name) => {
            let _ = head.query.take(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use keymoat_core::Secret;

    use super::*;
    use crate::settings::Origin;

    fn upstream(inject: Inject) -> Upstream {
        let origin = Origin { tls: false, host: "localhost".into(), port: 80 };
        Upstream { secret: Some(Secret::from("r/eal")), inject, ..Upstream::new("test", origin) }
    }

    #[test]
    fn a_header_is_replaced_and_marked_sensitive() {
        let name = HeaderName::from_static("x-api-key");
        let mut headers = HeaderMap::new();
        headers.append(&name, HeaderValue::from_static("the client's"));
        headers.append(&name, HeaderValue::from_static("another"));
        put_on(&upstream(Inject::Header(name.clone())), &mut headers, &mut String::new());
        let values: Vec<_> = headers.get_all(&name).iter().collect();
        assert_eq!(values, ["r/eal"]);
        assert!(values.iter().all(|value| value.is_sensitive()));
    }

    #[test]
    fn authorization_gets_its_scheme() {
        let mut headers = HeaderMap::new();
        put_on(&upstream(Inject::Header(AUTHORIZATION)), &mut headers, &mut String::new());
        assert_eq!(headers[AUTHORIZATION], "Bearer r/eal");
    }

    #[test]
    fn a_query_parameter_is_escaped_and_appended() {
        let mut query = String::from("a=1");
        put_on(&upstream(Inject::Query("key".into())), &mut HeaderMap::new(), &mut query);
        assert_eq!(query, "a=1&key=r%2Feal");
    }
}
