//! Sockets and messages as systemd hands and takes them. There is no systemd here: the test stands in for it.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;

use command_fds::{CommandFdExt, FdMapping};

use super::line::{Line, ask, pid};
use crate::harness::{Folder, Keymoat, PATIENCE, told};

/// `serve` with these sockets. systemd knows the process id that it puts into `LISTEN_PID`; a shell knows its own.
fn activated(folder: &Folder, sockets: &[(&str, &TcpListener)], process: &str, listen: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_keymoat");
    let script = format!("LISTEN_PID={process} exec {program} serve --json --listen {listen}");
    let plain = folder.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder.path()).stdin(std::process::Stdio::null());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let mappings = (3..).zip(sockets).map(|(child_fd, (_, socket))| {
        let parent_fd = socket.try_clone().expect("a descriptor").into();
        FdMapping { parent_fd, child_fd }
    });
    command.fd_mappings(mappings.collect()).expect("distinct numbers");
    command
}

fn socket() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound").to_string();
    (socket, address)
}

#[test]
fn h99_a_restart_with_socket_activation_refuses_nobody() {
    let ((data, address), (data_tls, address_tls)) = (socket(), socket());
    let folder: Arc<Folder> = Folder::new().into();
    let start = || {
        let sockets = [("data-tls", &data_tls), ("data", &data)];
        Keymoat::spawn(Arc::clone(&folder), activated(&folder, &sockets, "$$", "127.0.0.1:0"))
    };
    let mut keymoat = start();
    assert_eq!((keymoat.address(), keymoat.address_tls()), (&*address, &*address_tls));
    let key = keymoat.demo_key();
    assert_eq!(ask(&address, "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
    keymoat.signal(rustix::process::Signal::TERM);
    assert!(keymoat.wait().success());
    // Nobody serves now, and yet nobody is refused.
    let waiting = {
        let (address, key) = (address.clone(), key.clone());
        let stream = TcpStream::connect(&address).expect("it is not refused");
        drop(stream);
        std::thread::spawn(move || ask(&address, "/demo/echo", ("X-API-Key", &key)))
    };
    let keymoat = start();
    assert_eq!(waiting.join().expect("no panic").expect("it waited"), 200);

    // What systemd handed over goes on to the next process, too.
    let line = Line::new(keymoat);
    line.upgrade();
    assert_eq!(ask(&address, "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
}

#[test]
fn h99_sockets_that_do_not_fit_the_configuration_are_refused() {
    let (data, address) = socket();
    let open = TcpListener::bind("0.0.0.0:0").expect("a port");
    let folder = Folder::new();
    for (sockets, why) in [
        (vec![("data", &open)], "the socket listens on 0.0.0.0:"),
        (vec![("keymoat.socket", &data)], "write `FileDescriptorName=data`"),
        (vec![("data", &data), ("data", &open)], "the socket listens on 0.0.0.0:"),
    ] {
        let output = activated(&folder, &sockets, "$$", "127.0.0.1:0").output().expect("it ends");
        let (code, stdout, stderr) = told(&output);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(why), "{why}: {stderr}");
    }
    // Sockets that are meant for another process are none of its business.
    let folder: Arc<Folder> = folder.into();
    let command = activated(&folder, &[("data", &data)], "1", "127.0.0.1:0");
    assert_ne!(Keymoat::spawn(folder, command).address(), address);
}

#[test]
fn h99_systemd_is_told_the_new_main_process() {
    let folder: Arc<Folder> = Folder::new().into();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut command = folder.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path);
    let line = Line::new(Keymoat::spawn(folder, command));
    let new = line.upgrade();
    let mut message = [0; 256];
    let length = systemd.recv(&mut message).expect("it is told");
    let message = String::from_utf8_lossy(&message[..length]).into_owned();
    let told = message.strip_prefix("MAINPID=").and_then(|number| number.parse().ok()).map(pid);
    assert_eq!(told, Some(new), "{message}");
}

#[test]
fn h99_there_is_no_upgrade_where_systemd_would_end_the_new_process() {
    let folder: Arc<Folder> = Folder::new().into();
    let script =
        format!("SYSTEMD_EXEC_PID=$$ exec {} serve --json --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_keymoat"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder.path()).env_remove("NOTIFY_SOCKET");
    for (name, _) in folder.command(&[]).get_envs() {
        command.env_remove(name);
    }
    let keymoat = Keymoat::spawn(folder, command);
    keymoat.signal(rustix::process::Signal::USR2);
    keymoat.wait_for_line("NotifyAccess=main");
    let mut stream = TcpStream::connect(keymoat.address()).expect("it goes on");
    std::io::Write::write_all(&mut stream, b"GET /keymoat/readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
