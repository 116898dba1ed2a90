//! One `[upstream.NAME]`: its address, its secret, and where the secret is put on.

use http::HeaderName;
use keymoat_core::{Mask, Secret};
use keymoat_gateway::settings::{Inject, Origin, Upstream, UpstreamHttp};

use super::Reader;
use super::file::{self, At};
use super::preset::{Preset, WORDS};
use super::problem::unknown;
use super::secret::Reference;

/// What `http` takes.
pub(crate) const HTTP_VERSIONS: [&str; 3] = ["auto", "1.1", "2"];

/// An upstream, where its secret came from, and the preset that routes to it follow.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) upstream: Upstream,
    pub(crate) reference: Option<Reference>,
    pub(crate) preset: Option<Preset>,
}

/// Reads one upstream; problems are noted in `read`, and then there is none.
pub(crate) fn upstream(read: &mut Reader<'_>, name: &At<String>, file: &file::Upstream) -> Option<Named> {
    read.name("upstream", name);
    let preset =
        read.judge(file.preset.as_ref(), |word| Preset::named(word).ok_or_else(|| unknown("preset", word, &WORDS)));
    let (secret, reference) = file.secret.as_ref().and_then(|text| read.fetch(text)).unzip();
    if let (Some(secret), Some(text)) = (&secret, &file.secret)
        && let Err(message) = check_secret(name.get_ref(), secret)
    {
        read.report(text.span(), message);
    }
    let (origin, path_prefix) = match (&file.url, preset) {
        (Some(url), _) => read.judge(Some(url), |url| base_url(url))?,
        (None, Some(Preset { url: Some(url), .. })) => base_url(url).expect("presets are well formed"),
        (None, _) => {
            // A preset that is not known has been reported already.
            if file.preset.is_none() || preset.is_some() {
                let message = format!("upstream `{}` has no address: write url = \"https://…\"", name.get_ref());
                read.report(name.span(), message);
            }
            return None;
        }
    };
    let inject = match &file.inject {
        Some(inject) => read.judge(Some(inject), |text| parse_inject(text))?,
        None => preset.map_or(Inject::Header(http::header::AUTHORIZATION), Preset::inject),
    };
    let http = match &file.http {
        Some(word) => read.judge(Some(word), |word| parse_http(word))?,
        None => UpstreamHttp::Auto,
    };
    let ca_file = file.ca.as_ref().map(|path| read.watched_path(path));
    let mut upstream = Upstream { path_prefix, secret, inject, ca_file, http, ..Upstream::new(name.get_ref(), origin) };
    if let Some(allow_private) = &file.allow_private {
        upstream.allow_private = *allow_private.get_ref();
    }
    if let Some(warning) = secret_in_plain_text(&upstream) {
        read.warn(warning);
    }
    Some(Named { upstream, reference, preset })
}

/// Refuses a secret that is too short to be masked where the upstream repeats it.
///
/// # Errors
/// What to do instead.
pub(crate) fn check_secret(upstream: &str, secret: &Secret) -> Result<(), String> {
    if secret.len() >= Mask::SECRET_BYTES_MIN {
        return Ok(());
    }
    Err(format!(
        "the secret of upstream `{upstream}` has fewer than {} bytes: it cannot be masked where the upstream repeats it, and \
         is soon guessed; ask the upstream for a longer one",
        Mask::SECRET_BYTES_MIN
    ))
}

/// The warning of an upstream whose secret everyone on the way can read.
pub(crate) fn secret_in_plain_text(upstream: &Upstream) -> Option<String> {
    let exposed = upstream.secret.is_some() && !upstream.origin.tls && !is_loopback(&upstream.origin.host);
    exposed.then(|| {
        let name = &upstream.name;
        format!("upstream `{name}` gets its secret over plain HTTP, where everyone on the way can read it: use https")
    })
}

/// Reads `https://host:port/prefix`. The text is not repeated in an error: it could hold a password.
fn base_url(url: &str) -> Result<(Origin, String), String> {
    let malformed = || "this is no base URL: write https://HOST, https://HOST:PORT or https://HOST/PREFIX".to_owned();
    let uri: http::Uri = url.parse().map_err(|_| malformed())?;
    let authority = uri.authority().ok_or_else(malformed)?;
    if authority.as_str().contains('@') {
        return Err("a base URL holds no user or password: use `secret` and `inject`".to_owned());
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(
            "a base URL has no query and no fragment: a key goes into `secret`, its place into `inject`".to_owned()
        );
    }
    let (tls, default_port) = match uri.scheme_str() {
        Some("https" | "wss") => (true, 443),
        Some("http" | "ws") => (false, 80),
        _ => return Err(malformed()),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(malformed());
    }
    let port = match authority.port() {
        Some(port) => port.as_str().parse().map_err(|_| malformed())?,
        None => default_port,
    };
    Ok((Origin { tls, host, port }, uri.path().trim_end_matches('/').to_owned()))
}

fn parse_inject(text: &str) -> Result<Inject, String> {
    let unknown = || format!("unknown place `{text}`: write `header:NAME` or `query:NAME`");
    match text.split_once(':') {
        Some(("header", name)) => HeaderName::from_bytes(name.as_bytes()).map(Inject::Header).map_err(|_| unknown()),
        Some(("query", name)) if !name.is_empty() => Ok(Inject::Query(name.to_owned())),
        _ => Err(unknown()),
    }
}

fn parse_http(word: &str) -> Result<UpstreamHttp, String> {
    match word {
        "auto" => Ok(UpstreamHttp::Auto),
        "1" | "1.1" | "h1" => Ok(UpstreamHttp::Http1),
        "2" | "h2" => Ok(UpstreamHttp::Http2),
        _ => Err(unknown("HTTP version", word, &HTTP_VERSIONS)),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_gives_origin_and_prefix() {
        let read = |url| base_url(url).map(|(origin, prefix)| (origin.tls, origin.host, origin.port, prefix));
        assert_eq!(read("https://api.example"), Ok((true, "api.example".into(), 443, String::new())));
        assert_eq!(read("http://127.0.0.1:80/v2/"), Ok((false, "127.0.0.1".into(), 80, "/v2".into())));
        assert_eq!(read("https://[::1]:8443"), Ok((true, "::1".into(), 8443, String::new())));
    }

    #[test]
    fn a_base_url_with_a_credential_is_refused_without_repeating_it() {
        for bad in
            ["https://user:canary@host", "https://host/?key=canary", "https://host/#canary", "canary", "ftp://canary"]
        {
            let error = base_url(bad).expect_err("refused");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
