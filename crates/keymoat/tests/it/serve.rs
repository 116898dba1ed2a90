//! `keymoat serve`: starting, the first run, and the end.

use crate::harness::{Folder, Keymoat, told};

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, stdout, stderr) = told(&Folder::new().run(&["serve", "--json", "--listen", &address]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains(&format!("{address} is taken")) && stderr.contains("--listen 127.0.0.1:0"), "{stderr}");
}

#[test]
fn plain_text_beyond_loopback_is_refused() {
    let (code, _, stderr) = told(&Folder::new().run(&["serve", "--listen", "0.0.0.0:0"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--listen") && stderr.contains("beyond loopback"), "{stderr}");
}
