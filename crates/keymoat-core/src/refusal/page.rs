//! The page of each refusal: what it means and what to do. The gateway serves it, the documentation is made from it.

use super::Code;
use crate::route::Dialect;

/// The page of `code` in Markdown: title, what the client sees, meaning, what to do.
#[must_use]
pub fn page(code: Code) -> String {
    let (meaning, remedy) = text(code);
    format!(
        "# {word}\n\n{title}: HTTP {status}, WebSocket close {own}, Gemini close {gemini}, OpenAI close {openai}.\n\n\
         ## What it means\n\n{meaning}\n\n## What to do\n\n{remedy}\n",
        word = code.word(),
        title = code.title(),
        status = code.status(),
        own = code.close_code(Dialect::Generic),
        gemini = code.close_code(Dialect::Gemini),
        openai = code.close_code(Dialect::OpenAi),
    )
}

/// What a refusal with `code` means, and what to do about it, in lines of Markdown.
#[must_use]
pub const fn text(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::CredentialMissing => (
            "The request carries no credential in any place that its route reads. Empty values and the words\n\
             `undefined` and `null` count as none: a variable was probably not set.",
            "Send the key in a header that the route lists, such as `X-API-Key: km_…` or `Authorization: Bearer km_…`.\n\
             A browser, which cannot set headers on a WebSocket, offers two subprotocols: `keymoat.v1` and `api-key.km_…`.",
        ),
        Code::CredentialInvalid => (
            "The credential matches nothing that Keymoat knows, or it has expired. The answer is the same for both, so\n\
             that nobody learns which keys exist. Whoever has a secret that was replaced is told so.",
            "Check that the key was copied whole (52 characters, starting with `km_`) and that it belongs to this\n\
             installation: `keymoat key list` shows ids, names and expiry. Make a new one with `keymoat key create`.",
        ),
        Code::CredentialAmbiguous => (
            "The request carries two different credentials, for example one in a header and another in the URL. Keymoat\n\
             does not guess which one is meant.",
            "Send one. The same credential twice is fine. While clients are being moved away from URLs, a route with\n\
             `query = \"warn\"` lets a header win over a stale copy in the URL.",
        ),
        Code::CredentialInQuery => (
            "A long-lived key came in the URL. URLs end up in access logs, browser history, `Referer` headers, proxies,\n\
             caches and screenshots, so this route does not take keys there.",
            "Send the key in a header, or from a browser as a subprotocol (`keymoat.v1` and `api-key.km_…`). A key that\n\
             has been in URLs should be replaced. A client library that can do nothing else needs a short-lived token,\n\
             or, while it is being replaced, a route with `query = \"warn\"`.",
        ),
        Code::CredentialRevoked => (
            "The key was revoked. Live sessions that were opened with it are closed with this code as well.",
            "Ask whoever runs the gateway for a new key; they make one with `keymoat key create`.",
        ),
        Code::TokenExpired => (
            "The token was genuine, but its time is over. Only the holder of the whole token is told so.",
            "Ask your backend for a new token and connect again at once.",
        ),
        Code::TokenUsedUp => (
            "The token was genuine, but it has been used as often as it may be, or has carried all the bytes that it may.\n\
             Only the holder of the whole token is told so.",
            "Ask your backend for a new token, or let it mint tokens with more uses, or a larger `total_bytes`.",
        ),
        Code::Forbidden => (
            "The credential is known, but it may not do this: the route is not within its scopes, the origin is not allowed,\n\
             or a token's constraint does not let the message pass: another model, a field that is locked, a kind of\n\
             message that is not known under a lock.",
            "Use a key whose scopes name this route (`keymoat key show NAME` lists them), or make one:\n\
             `keymoat key create NAME --scope ROUTE`. For a token, ask for what it allows, or mint one that allows more.",
        ),
        Code::RateLimited => (
            "Too much in too short a time: the key, or the token, has used up its requests, bytes or sessions, or too many\n\
             credentials from this address were not accepted. The detail says which.",
            "Wait as long as `Retry-After`, or the seconds in the close reason, say; add some jitter. The operator sees the\n\
             limits of a key with `keymoat key show NAME`, and changes them with `keymoat key change NAME --limit NAME=VALUE`.",
        ),
        Code::Unavailable => (
            "The store, the upstream or this process cannot take the request at the moment. Nothing was let through\n\
             unchecked.",
            "Try again after `Retry-After`. The operator finds the cause in the field `cause` of the log line.",
        ),
        Code::Draining => (
            "This process is shutting down or being replaced.",
            "Connect again; a load balancer will choose another process.",
        ),
        Code::RequestInvalid => (
            "The request could be read in two ways, or in none. Proxies that read such requests differently can be\n\
             tricked into mixing up two clients' requests, so Keymoat refuses them and closes the connection.",
            "The detail names the place. Usual causes: two `Host` or `Content-Length` headers, `Content-Length` beside\n\
             `Transfer-Encoding`, bare line feeds, unescaped characters in the URL, `..` in the path, a subprotocol that\n\
             is empty or repeated.",
        ),
        Code::RouteUnknown => (
            "No route takes this path.",
            "Compare the path with the routes in `keymoat.toml`. For Gemini the WebSocket paths are\n\
             `/ws/google.ai.generativelanguage.{v1,v1beta,v1alpha}.GenerativeService.BidiGenerateContent`, `…Constrained`\n\
             and `…BidiGenerateMusic`; REST paths start with the version. OpenAI's paths start with `/v1/`; those that hand\n\
             out credentials of OpenAI's own are not passed on.",
        ),
        Code::MethodNotAllowed => (
            "The method is not one that Keymoat passes on.",
            "Use one of those in the `Allow` header. `CONNECT` and `TRACE` are never passed on.",
        ),
        Code::RequestTimeout => (
            "The head of the request took longer than 10 seconds to arrive.",
            "Send the whole head at once. If the network is that slow, raise `limits.head`.",
        ),
        Code::BodyTooLarge => ("The body is larger than the route takes.", "Send less, or in parts."),
        Code::UrlTooLong => (
            "The URL is longer than `limits.url_bytes_max`, 8 KiB by default.",
            "Move data from the query into the body.",
        ),
        Code::ExpectationFailed => {
            ("The request has an `Expect` header other than `100-continue`.", "Leave the header out.")
        }
        Code::HostMisdirected => (
            "The host of the request differs from the name that the TLS connection was opened for.",
            "Open a connection of its own for each host name.",
        ),
        Code::WebsocketVersion => (
            "The WebSocket handshake asks for a version other than 13.",
            "Use a WebSocket library that speaks RFC 6455.",
        ),
        Code::HeadTooLarge => (
            "The header block is larger than `limits.head_bytes_max` (16 KiB by default) or has more fields than\n\
             `limits.head_fields_max` (100). Large cookies are the usual cause.",
            "Send fewer or smaller headers.",
        ),
        Code::UpstreamFailed => (
            "The upstream could not be trusted or understood: its certificate is not valid for its name, it broke off,\n\
             or it answered a WebSocket opening with something else. An answer of 401 or 403 there means that the\n\
             upstream does not accept the key that Keymoat holds.",
            "The operator finds the cause in the field `cause` of the log line. For a private upstream set `ca` to the\n\
             file with its certificate authority.",
        ),
        Code::UpstreamTimeout => (
            "The upstream took too long to answer.",
            "Try again. The operator can raise `limits.response_head` for slow upstreams.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_says_what_to_do() {
        for code in Code::ALL {
            let page = page(code);
            assert!(page.starts_with(&format!("# {code}\n")));
            assert!(page.contains("## What to do\n\n"));
        }
    }
}
