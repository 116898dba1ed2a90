//! `keymoat doctor --through` real proxies: those that strip, hold back or log are found, and the configurations of the book
//! are well.

use std::time::{Duration, Instant};

use super::front::{Front, Place};
use super::{Stand, outcome};
use crate::harness::PATIENCE;

const BOOK: &str = include_str!("../../../../../docs/src/proxies.md");

/// A key of the right form that nobody issued, for requests that the gateway never gets.
const KEY: &str = "km_TestVector0TestVector0TestVector0TestVector02cu8n";

/// The block of the book in `language`.
pub(super) fn block(language: &str) -> &'static str {
    let (_, behind) = BOOK.split_once(&format!("\n```{language}")).expect("the book has it");
    let (_, text) = behind.split_once('\n').expect("a block");
    let end = text.find("```").expect("its end");
    &text[..end]
}

/// `text` with each of `pairs` replaced, all of which it has to have.
fn filled(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the book no longer says `{from}`");
        text.replace(from, to)
    })
}

fn caddy(behind: &str, further: &str, of_site: &str) -> Front {
    let place = Place::new();
    let log = place.file("access.log");
    let text = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://{} {{\n\tbind 127.0.0.1\n\tlog {{\n\t\toutput file {log}\n\t}}\n\
         \t{of_site}\n\treverse_proxy {behind} {{\n\t\t{further}\n\t}}\n}}\n",
        place.address
    );
    place.caddy(&text)
}

fn haproxy(behind: &str, further: &str) -> Front {
    let place = Place::new();
    let text = format!(
        "global\n  log stdout format raw local0\ndefaults\n  mode http\n  log global\n  option httplog\n  timeout connect 3s\n\
         \x20 timeout client 1m\n  timeout server 1m\nfrontend clients\n  bind {}\n  {further}\n  default_backend keymoat\n\
         backend keymoat\n  server keymoat {behind}\n",
        place.address
    );
    place.haproxy(&text)
}

/// How D109 and D110 end through `front`.
fn looked_through(stand: &Stand, front: &Front) -> (String, String) {
    let through = format!("http://{}", front.address);
    let (_, checks) = stand.doctor(&["--through", &through, "--only", "D109", "--only", "D110"]);
    (outcome(&checks, "D109").to_owned(), outcome(&checks, "D110").to_owned())
}

fn ended(subprotocols: &str, events: &str) -> (String, String) {
    (subprotocols.to_owned(), events.to_owned())
}

#[test]
fn caddy_is_well_as_it_is_and_found_where_it_strips_or_holds_back() {
    let stand = Stand::start();
    let behind = stand.keymoat.address();
    assert_eq!(looked_through(&stand, &caddy(behind, "", "")), ended("ok", "ok"));
    let stripping = caddy(behind, "header_up -Sec-WebSocket-Protocol", "");
    assert_eq!(looked_through(&stand, &stripping), ended("fail", "ok"));
    assert_eq!(looked_through(&stand, &caddy(behind, "", "encode gzip")), ended("ok", "ok"));
    // It waits for the end of a WebSocket, too, which is not waited for here.
    let buffering = caddy(behind, "buffer_responses", "");
    let through = format!("http://{}", buffering.address);
    let (_, checks) = stand.doctor(&["--through", &through, "--only", "D110"]);
    assert_eq!(outcome(&checks, "D110"), "fail", "{checks:#}");
}

#[test]
fn haproxy_is_well_as_it_is_and_found_where_it_strips_or_holds_back() {
    let stand = Stand::start();
    let behind = stand.keymoat.address();
    assert_eq!(looked_through(&stand, &haproxy(behind, "")), ended("ok", "ok"));
    let stripping = haproxy(behind, "http-request del-header Sec-WebSocket-Protocol");
    assert_eq!(looked_through(&stand, &stripping), ended("fail", "ok"));
    let hiding = haproxy(behind, "http-response del-header Sec-WebSocket-Protocol");
    assert_eq!(looked_through(&stand, &hiding), ended("fail", "ok"));
    let buffering = haproxy(behind, "http-response wait-for-body time 10s");
    assert_eq!(looked_through(&stand, &buffering), ended("ok", "fail"));
}

#[test]
fn keys_in_the_logs_of_caddy_and_haproxy_are_found_by_where_they_were_sent() {
    let stand = Stand::start();
    let behind = stand.keymoat.address();
    let seen = |front: &Front, log: &str| {
        let through = format!("http://{}", front.address);
        let (_, checks) = stand.doctor(&["--through", &through, "--log", &front.file(log), "--only", "D112"]);
        (outcome(&checks, "D112").to_owned(), checks[0]["seen"].as_str().expect("a text").to_owned())
    };
    // Caddy hides `Authorization`, and writes the other headers as they are.
    let (how, what) = seen(&caddy(behind, "", ""), "access.log");
    assert_eq!(how, "fail", "{what}");
    for place in ["a header", "a subprotocol", "an encoded subprotocol", "a URL"] {
        assert!(what.contains(&format!("the key of {place} stands in")), "{place}: {what}");
    }
    let (how, what) = seen(&haproxy(behind, ""), "printed.log");
    assert_eq!(how, "warn", "{what}");
    assert!(what.contains("the key of a URL stands in") && !what.contains("header"), "{what}");
    // Cut off, it is a key all the same.
    let capturing = haproxy(behind, "http-request capture req.hdr(X-API-Key) len 24");
    let (how, what) = seen(&capturing, "printed.log");
    assert!(how == "fail" && what.contains("the key of a header stands in"), "{how}: {what}");
    // A log that tells of no request proves nothing.
    let silent = haproxy(behind, "no log");
    let (how, what) = seen(&silent, "printed.log");
    assert!(how == "warn" && what.contains("tells of none of the requests"), "{how}: {what}");
}

/// Runs doctor through a proxy of the book, and then asks through it while nothing is behind.
fn proven(stand: &mut Stand, front: &Front, log: &str) {
    let through = format!("https://localhost:{}", front.address.rsplit(':').next().expect("a port"));
    let ca = front.file("gateway.pem");
    let checks = ["--only", "D109", "--only", "D110", "--only", "D112"];
    let (_, checks) =
        stand.doctor(&[&["--through", &through, "--ca", &ca, "--log", &front.file(log)], &checks[..]].concat());
    for id in ["D109", "D110", "D112"] {
        assert_eq!(outcome(&checks, id), "ok", "{checks:#}\n{}", front.read(log));
    }
    let believed = stand.keymoat.output().lines().filter(|line| line.contains("/keymoat/v1/canary")).count();
    assert!(believed > 0, "the gateway was asked");
    stand.keymoat.signal(rustix::process::Signal::KILL);
    stand.keymoat.wait_for_exit();
    let address = format!("localhost:{}", front.address.rsplit(':').next().expect("a port"));
    let answer = ask_tls(&address, &ca);
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
    let deadline = Instant::now() + PATIENCE;
    while !front.everything().contains("/while-nothing-is-behind") {
        assert!(Instant::now() < deadline, "some log tells of it: {}", front.everything());
        std::thread::sleep(Duration::from_millis(20));
    }
    let everything = front.everything();
    assert!(!everything.contains(&KEY[..20]) && !everything.contains("a-secret-of-the-query"), "{everything}");
}

/// Asks with a key in the URL and in a header, by TLS.
fn ask_tls(address: &str, ca: &str) -> String {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName};

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("the certificate")).expect("a certificate");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    let request = format!(
        "GET /while-nothing-is-behind?api_key={KEY}&q=a-secret-of-the-query HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\
         Referer: https://localhost/?api_key={KEY}\r\nConnection: close\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    // A proxy may leave without a farewell.
    let _ = tls.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_haproxy_of_compose_finds_nodes_that_are_ready_and_no_others() {
    let stand = Stand::start();
    let place = Place::new();
    let text = filled(
        include_str!("../../../../../deploy/compose/haproxy.cfg"),
        &[
            ("global\n", "global\n    log stdout format raw local0\n"),
            ("maxconn 20000", "maxconn 100"),
            ("mode tcp\n", "mode tcp\n    log global\n"),
            ("bind :8080", &format!("bind {}", place.address)),
            ("node-1:8080", stand.keymoat.address()),
            // Nobody listens there.
            ("node-2:8080", "127.0.0.1:1"),
        ],
    );
    let front = place.haproxy(&text);
    let deadline = Instant::now() + PATIENCE;
    while !front.read("printed.log").contains("node-2 is DOWN") {
        assert!(Instant::now() < deadline, "{}", front.read("printed.log"));
        std::thread::sleep(Duration::from_millis(20));
    }
    // Long enough for two checks of the other.
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(!front.read("printed.log").contains("node-1 is DOWN"), "{}", front.read("printed.log"));
    for _ in 0..4 {
        let answer = crate::harness::request(&front.address, "GET", "/keymoat/livez", &[]);
        assert_eq!(crate::harness::status(&answer), 200, "{answer}");
    }
}

#[test]
fn the_nginx_of_the_book_passes_everything_and_logs_no_key() {
    let mut stand = Stand::behind_proxy();
    let place = Place::new();
    place.certify();
    let text = filled(
        block("nginx"),
        &[
            ("listen 443 ssl", &format!("listen {} ssl", place.address)),
            ("gateway.example", "localhost"),
            ("/etc/nginx/gateway", &place.file("gateway")),
            ("/var/log/nginx/keymoat-error.log", &place.file("error.log")),
            ("/var/log/nginx/keymoat.log", &place.file("access.log")),
            ("127.0.0.1:8787", stand.keymoat.address()),
        ],
    );
    proven(&mut stand, &place.nginx(&text), "access.log");
}

#[test]
fn the_caddy_of_the_book_passes_everything_and_logs_no_key() {
    let mut stand = Stand::behind_proxy();
    let place = Place::new();
    place.certify();
    let (certificate, key) = (place.file("gateway.pem"), place.file("gateway.key"));
    let site = place.address.replace("127.0.0.1", "https://localhost");
    let text = filled(
        block("caddy"),
        &[
            // Alone on a line, where the options begin.
            ("{\n\tlog default", "{\n\tadmin off\n\tauto_https disable_redirects\n\tlog default"),
            ("gateway.example {", &format!("{site} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}")),
            ("/var/log/caddy/keymoat.log", &place.file("access.log")),
            ("127.0.0.1:8787", stand.keymoat.address()),
        ],
    );
    proven(&mut stand, &place.caddy(&text), "access.log");
}

#[test]
fn the_haproxy_of_the_book_passes_everything_and_logs_no_key() {
    let mut stand = Stand::behind_proxy();
    let place = Place::new();
    place.certify();
    let text = filled(
        block("haproxy"),
        &[
            ("log /dev/log local0", "log stdout format raw local0"),
            ("bind :443", &format!("bind {}", place.address)),
            ("/etc/haproxy/gateway.pem", &place.file("both.pem")),
            ("127.0.0.1:8787", stand.keymoat.address()),
        ],
    );
    proven(&mut stand, &place.haproxy(&text), "printed.log");
}
