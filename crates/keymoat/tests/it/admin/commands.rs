//! Commands use the API of the server that runs on their store.

use serde_json::Value;

use super::Administered;
use crate::harness::{Folder, open_websocket, told};

#[test]
fn sessions_are_listed_and_ended_by_commands_while_a_server_runs() {
    let administered = Administered::first_run();
    let folder = &administered.keymoat.folder;
    let (code, list, complaint) = told(&folder.run(&["session", "list"]));
    assert_eq!(code, Some(0), "{complaint}");
    assert!(list.contains("no live session"), "{list}");
    let demo = administered.keymoat.demo_key();
    let (head, _stream) = open_websocket(administered.keymoat.address(), "/ws/events", &[("X-API-Key", &demo)]);
    assert!(head.contains("101"), "{head}");
    let listed = || -> Value {
        let (_, json, _) = told(&folder.run(&["session", "list", "--json"]));
        serde_json::from_str(&json).expect("JSON")
    };
    administered.until(|| listed() != serde_json::json!([]));
    let id = listed()[0]["id"].as_str().expect("an id").to_owned();
    let (code, _, complaint) = told(&folder.run(&["session", "end", &id, "--reason", "maintenance"]));
    assert_eq!(code, Some(0), "{complaint}");
    administered.until(|| listed() == serde_json::json!([]));
    let (code, _, complaint) = told(&folder.run(&["session", "end", "ses_none"]));
    assert_eq!((code, complaint.contains("no live session")), (Some(1), true), "{complaint}");
}

#[test]
fn without_a_server_session_commands_say_so() {
    let folder = Folder::new();
    let (code, _, complaint) = told(&folder.run(&["session", "list"]));
    assert_eq!(code, Some(2));
    assert!(complaint.contains("no server runs on the store in `.keymoat`"), "{complaint}");
}

#[test]
fn an_act_of_a_command_is_one_of_the_server_that_runs() {
    let administered = Administered::first_run();
    let folder = &administered.keymoat.folder;
    let (code, key, complaint) = told(&folder.run(&["key", "create", "by command"]));
    assert_eq!(code, Some(0), "{complaint}");
    assert!(key.trim().starts_with("km_"), "{key}");
    let line = administered.keymoat.wait_for_line("key.created");
    assert!(line.contains("\"actor\":\"command\""), "{line}");
    assert!(!administered.keymoat.output().contains(key.trim()));
    let (code, _, complaint) = told(&folder.run(&["key", "revoke", "by command"]));
    assert_eq!(code, Some(0), "{complaint}");
    administered.keymoat.wait_for_line("key.revoked");
    let (code, _, complaint) = told(&folder.run(&["key", "revoke", "none such"]));
    assert_eq!(code, Some(1), "{complaint}");
}

#[test]
fn admins_are_made_listed_and_removed_without_a_server() {
    let folder = Folder::new();
    folder.write("password", "correct horse battery\n");
    folder.write("short", "short\n");
    let (code, out, complaint) =
        told(&folder.run(&["admin", "create", "ada", "--role", "admin", "--password-file", "password"]));
    assert_eq!((code, out.as_str()), (Some(0), ""), "{complaint}");
    let (code, _, complaint) = told(&folder.run(&["admin", "create", "bob", "--password-file", "short"]));
    assert!(code == Some(2) && complaint.contains("12 characters") && !complaint.contains("short\n"), "{complaint}");
    let (_, list, _) = told(&folder.run(&["admin", "list"]));
    assert!(list.contains("ada") && list.contains("person"), "{list}");
    let (code, _, complaint) = told(&folder.run(&["admin", "remove", "ada"]));
    assert_eq!(code, Some(1), "the last one stays: {complaint}");
}
