//! `keymoat emulate`, as a developer would use it alone.

use rustix::process::Signal;

use crate::harness::{Folder, Keymoat, request, told};

fn emulate(folder: &std::sync::Arc<Folder>, arguments: &[&str]) -> Keymoat {
    let mut command = folder.command(&["emulate", "events", "--json", "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    Keymoat::spawn(folder.clone(), command)
}

fn address(emulator: &Keymoat) -> String {
    let url = emulator.ready["emulator"].as_str().expect("the ready object has it");
    url.trim_start_matches("http://").to_owned()
}

#[test]
fn it_takes_its_key_in_a_header_and_refuses_it_in_a_url() {
    let folder = Folder::new().into();
    let mut emulator = emulate(&folder, &[]);
    let key = std::fs::read_to_string(emulator.ready["secret_file"].as_str().expect("a file")).expect("readable");
    let address = address(&emulator);
    let answer = |target: &str, headers: &[(&str, &str)]| request(&address, "GET", target, headers);
    assert!(answer("/api/events", &[("X-API-Key", &key)]).starts_with("HTTP/1.1 200 "));
    assert!(!answer(&format!("/api/events?api_key={key}"), &[]).starts_with("HTTP/1.1 200 "));
    assert!(answer("/emulator/record", &[]).starts_with("HTTP/1.1 404 "));
    emulator.signal(Signal::TERM);
    assert!(emulator.wait().success());
    assert!(!emulator.output().contains(&key));
}

#[test]
fn it_takes_a_given_key_where_the_provider_takes_it_and_shows_what_it_received() {
    let folder: std::sync::Arc<Folder> = Folder::new().into();
    folder.write("key", "given-key\n");
    let emulator = emulate(&folder, &["--secret-file", "key", "--credentials", "provider", "--record"]);
    let address = address(&emulator);
    assert!(request(&address, "GET", "/api/events?api_key=given-key", &[]).starts_with("HTTP/1.1 200 "));
    assert!(request(&address, "GET", "/emulator/record", &[]).contains("given-key"));
}

#[test]
fn plain_text_beyond_loopback_and_an_empty_secret_are_refused() {
    let folder = Folder::new();
    folder.write("key", "\n");
    for (arguments, hint) in [(["--listen", "0.0.0.0:0"], "--tls"), (["--secret-file", "key"], "is empty")] {
        let (code, stdout, stderr) = told(&folder.run(&[["emulate", "gemini"], arguments].concat()));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}
