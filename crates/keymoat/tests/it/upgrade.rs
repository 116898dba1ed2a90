//! The upgrade of the binary: nobody is refused, what is open goes on, and whatever goes wrong changes nothing.

pub(crate) mod line;
mod systemd;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use self::line::{Line, Visitors, ask, echo, frame, is_gone, open};
use crate::harness::{Emulated, Folder, Keymoat, PATIENCE, request, status, told};

/// How many WebSockets stay open over the upgrades, where the system gives as many descriptors.
const WEBSOCKETS: usize = 1_000;

/// How many descriptors one of them takes in a gateway that emulates its own upstream: both ends of one socket, and more.
const DESCRIPTORS_EACH: u64 = 4;

/// Raises the limit of descriptors, which the gateways inherit, and gives how many WebSockets that is enough for.
fn websockets() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
    let enough = maximum.is_none_or(|maximum| maximum > DESCRIPTORS_EACH * WEBSOCKETS as u64 + 500);
    if enough { WEBSOCKETS } else { WEBSOCKETS / 2 }
}

fn echo_all(sockets: &mut [TcpStream], text: &str) {
    for (number, socket) in sockets.iter_mut().enumerate() {
        echo(socket, text).unwrap_or_else(|error| panic!("{text}, WebSocket {number}: {error}"));
    }
}

/// A folder with a gateway's configuration in front of the emulated APIs, and a key of the store.
fn configured(emulated: &Emulated, further: &str) -> (Arc<Folder>, String) {
    let folder = Folder::new();
    folder.write("upstream.key", &emulated.key());
    let text = format!(
        "{further}\n[upstream.demo]\nurl = \"{}\"\nsecret = \"${{file:upstream.key}}\"\ninject = \"header:X-API-Key\"\n\
         [route.demo]\nupstream = \"demo\"\npaths = [\"/demo/*\"]\n",
        emulated.url()
    );
    folder.write("keymoat.toml", &text);
    let (_, stdout, stderr) = told(&folder.run(&["key", "create", "client", "--scope", "demo", "--scope", "mint"]));
    assert!(stdout.starts_with("km_"), "{stderr}");
    (folder.into(), stdout.trim().to_owned())
}

#[test]
#[expect(clippy::print_stdout, reason = "the numbers are what the test is for")]
fn h99_three_upgrades_refuse_nobody_and_a_thousand_websockets_go_on() {
    let count = websockets();
    let line = Line::new(Keymoat::first_run());
    let (key, address) = (line.first.demo_key(), line.first.address().to_owned());
    let mut sockets: Vec<_> = (0..count).map(|_| open(&address, &key).expect("a WebSocket")).collect();
    // A connection that waits between two requests, and one on which nothing was asked yet.
    let mut silent = TcpStream::connect(&address).expect("it listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("a time");
    let visitors = Visitors::start(&line.first, &key);
    let mut served = 0;
    for number in 1..=3 {
        line.until("visitors before the upgrade", || visitors.served() > served + 20);
        line.upgrade();
        served = visitors.served();
        line.until("visitors after the upgrade", || visitors.served() > served + 20);
        echo_all(&mut sockets, &format!("after upgrade {number}"));
    }
    let (served, refused, failures) = visitors.stop();
    println!("{count} WebSockets, 3 upgrades: {served} connects served, {refused} refused, failed: {failures:?}");
    assert_eq!((refused, &*failures), (0, &[] as &[String]), "of {served}");

    silent.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is open");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut silent, &mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");

    let pids = line.pids();
    assert_eq!(pids.len(), 4);
    // Those in between had visitors only; the first one has every WebSocket.
    pids[1..3].iter().for_each(|between| line.until_gone(*between));
    assert!(!is_gone(pids[0]) && !is_gone(pids[3]));
    echo_all(&mut sockets, "the last one");
    drop(sockets);
    line.until_gone(pids[0]);
    assert_eq!(ask(&address, "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
    assert!(!line.first.output().contains(&key));
}

#[test]
fn h99_what_is_open_after_the_grace_is_closed_with_1012() {
    let variables = [("KEYMOAT__LIMITS__DRAIN", "300ms")];
    let line = Line::new(Keymoat::in_folder(Folder::new().into(), &[], &variables));
    let key = line.first.demo_key();
    let mut session = open(line.first.address(), &key).expect("a WebSocket");
    line.upgrade();
    let (opcode, payload) = frame(&mut session).expect("a close frame");
    assert_eq!((opcode, payload.get(..2)), (8, Some(&1012_u16.to_be_bytes()[..])), "{payload:?}");
    line.until_gone(line.pids()[0]);
    echo(&mut open(line.first.address(), &key).expect("a WebSocket"), "of the new one").expect("an echo");
}

#[test]
fn h99_after_an_upgrade_the_first_signal_drains_and_the_second_ends_at_once() {
    let line = Line::new(Keymoat::first_run());
    let mut session = open(line.first.address(), &line.first.demo_key()).expect("a WebSocket");
    let new = line.upgrade();
    line.first.signal(Signal::TERM);
    line.first.wait_for_line("draining: a second signal ends at once");
    echo(&mut session, "still there").expect("an echo");
    line.first.signal(Signal::TERM);
    assert_eq!(frame(&mut session).expect("a close frame").0, 8);
    line.until_gone(line.pids()[0]);
    assert!(!is_gone(new));
}

#[test]
fn h99_a_broken_configuration_keeps_the_old_process() {
    let emulated = Emulated::start();
    let (folder, key) = configured(&emulated, "");
    let line = Line::new(Keymoat::in_folder(folder, &[], &[]));
    let address = line.first.address().to_owned();
    let good = std::fs::read_to_string(line.first.folder.path().join("keymoat.toml")).expect("written");
    let mut session = open(&address, &key).expect("a WebSocket");
    for (number, (broken, why)) in [
        (format!("{good}\n[rout.x]\n"), "ended before it was ready (exit status: 2)"),
        // What listens cannot change without a restart, and nobody who expects TLS gets plain text.
        (format!("[tls]\nmode = \"disabled\"\n{good}"), "but `mode` in [tls] serves no TLS"),
    ]
    .into_iter()
    .enumerate()
    {
        line.first.folder.write("keymoat.toml", &broken);
        line.first.signal(Signal::USR2);
        line.first.wait_for_line(why);
        line.until("an upgrade that failed", || {
            line.first.output().matches("there was no upgrade: this process goes on serving").count() > number
        });
        echo(&mut session, "still there").expect("an echo");
        assert_eq!(ask(&address, "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
        assert_eq!(line.pids().len(), 1);
    }
    line.first.folder.write("keymoat.toml", &good);
    line.upgrade();
    assert_eq!(ask(&address, "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
}

#[test]
fn h99_a_program_that_does_not_come_up_changes_nothing_and_a_link_is_followed_anew() {
    let folder: Arc<Folder> = Folder::new().into();
    let link = folder.path().join("program");
    let point_to = |target: &str| {
        let _ = std::fs::remove_file(&link);
        symlink(target, &link).expect("linked");
    };
    point_to(env!("CARGO_BIN_EXE_keymoat"));
    let command = |folder: &Folder| {
        let own = folder.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
        let mut command = std::process::Command::new(&link);
        command.args(own.get_args()).current_dir(folder.path()).stdin(std::process::Stdio::null());
        for (name, value) in own.get_envs() {
            assert!(value.is_none(), "nothing is set");
            command.env_remove(name);
        }
        command
    };
    let start = command(&folder);
    let mut line = Line::new(Keymoat::spawn(folder, start));
    let script = |name: &str, text: &str| {
        let path = line.first.folder.write(name, text);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("changed");
        path.to_str().expect("text").to_owned()
    };
    for (target, why) in [
        ("nowhere".to_owned(), "cannot start `"),
        (script("crash", "#!/bin/sh\nkill -SEGV $$\n"), "ended before it was ready (signal: 11"),
    ] {
        point_to(&target);
        line.first.signal(Signal::USR2);
        line.first.wait_for_line(why);
        assert_eq!(status(&request(line.first.address(), "GET", "/keymoat/readyz", &[])), 200);
    }
    point_to(env!("CARGO_BIN_EXE_keymoat"));
    line.upgrade();

    // One that neither becomes ready nor ends: this process can be ended meanwhile, and takes it along.
    let line_of_one = Line::new({
        let folder: Arc<Folder> = Folder::new().into();
        let start = command(&folder);
        Keymoat::spawn(folder, start)
    });
    point_to(&script("hangs", "#!/bin/sh\necho \"{\\\"gateway\\\":1,\\\"pid\\\":$$}\"\nexec sleep 600\n"));
    line_of_one.first.signal(Signal::USR2);
    line_of_one.until("the script", || line_of_one.pids().len() == 2);
    assert_eq!(status(&request(line_of_one.first.address(), "GET", "/keymoat/readyz", &[])), 200);
    line_of_one.first.signal(Signal::TERM);
    line_of_one.pids().into_iter().for_each(|process| line_of_one.until_gone(process));
    line.first.signal(Signal::TERM);
    assert!(line.first.wait_for_exit().success());
}

#[test]
fn h99_other_numbers_of_threads_leave_no_socket_alone() {
    let emulated = Emulated::start();
    let (folder, key) = configured(&emulated, "[listen]\nthreads = 1");
    let line = Line::new(Keymoat::in_folder(folder, &[], &[]));
    let file = std::fs::read_to_string(line.first.folder.path().join("keymoat.toml")).expect("written");
    for threads in [4, 2, 3] {
        line.first.folder.write("keymoat.toml", &file.replace("threads = 1", &format!("threads = {threads}")));
        line.upgrade();
        // The kernel chooses a socket by the client's port: of so many, some come to each of the sockets.
        for _ in 0..64 {
            assert_eq!(ask(line.first.address(), "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
        }
    }
}

#[test]
fn h99_four_threads_sockets_are_all_served_by_one_thread() {
    let emulated = Emulated::start();
    let (folder, key) = configured(&emulated, "[listen]\nthreads = 4");
    let line = Line::new(Keymoat::in_folder(folder, &[], &[]));
    let file = std::fs::read_to_string(line.first.folder.path().join("keymoat.toml")).expect("written");
    line.first.folder.write("keymoat.toml", &file.replace("threads = 4", "threads = 1"));
    line.upgrade();
    line.until_gone(line.pids()[0]);
    for _ in 0..128 {
        assert_eq!(ask(line.first.address(), "/demo/echo", ("X-API-Key", &key)).expect("it is served"), 200);
    }
}

#[test]
fn h99_the_uses_of_a_token_are_exact_across_an_upgrade() {
    const USES: usize = 1_000;
    /// So many are left for the new process, however slow the upgrade is.
    const LEFT: usize = 100;
    let emulated = Emulated::start();
    let (folder, _) = configured(&emulated, "");
    let uses = USES.to_string();
    let (code, stdout, stderr) = told(&folder.run(&["token", "create", "--key", "client", "--uses", &uses]));
    assert_eq!(code, Some(0), "{stderr}");
    let token = stdout.trim().to_owned();
    let line = Line::new(Keymoat::in_folder(folder, &[], &[]));
    let (address, bearer) = (line.first.address().to_owned(), format!("Bearer {token}"));
    let (served, upgraded) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    while served.load(Ordering::Relaxed) > USES - LEFT && !upgraded.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    match ask(&address, "/demo/echo", ("Authorization", &bearer)).expect("nobody is refused") {
                        200 => drop(served.fetch_add(1, Ordering::Relaxed)),
                        401 => return,
                        other => panic!("status {other}"),
                    }
                }
            });
        }
        line.until("the first uses", || served.load(Ordering::Relaxed) > 10);
        line.upgrade();
        upgraded.store(true, Ordering::Relaxed);
    });
    assert_eq!(served.load(Ordering::Relaxed), USES);
    assert!(!line.first.output().contains(token.strip_prefix("kmt_").expect("a token")));
}

#[test]
fn h99_no_credential_comes_into_the_environment_or_the_arguments_of_the_new_process() {
    let emulated = Emulated::start();
    let (folder, key) = configured(&emulated, "[key.named]\nsecret = \"${file:named.key}\"");
    folder.write("named.key", "canary-of-the-named-key");
    let mut command = folder.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.env("KEYMOAT_TEST_MARK", "inherited");
    let line = Line::new(Keymoat::spawn(folder, command));
    let upgraded = line.upgrade();
    let _session = open(line.first.address(), &key).expect("a WebSocket");
    let of = |process: rustix::process::Pid, file: &str| {
        let path = format!("/proc/{}/{file}", process.as_raw_nonzero());
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let arguments = of(upgraded, "cmdline").expect("everyone may read it");
    assert!(arguments.ends_with("serve\0--json\0--listen\x00127.0.0.1:0\0"), "{arguments}");
    let mut texts = vec![arguments, line.first.output()];
    match of(upgraded, "environ") {
        Ok(environment) => {
            let own = environment.split('\0').filter(|entry| entry.starts_with("LISTEN_") || entry.contains("KEYMOAT"));
            let mut names: Vec<_> = own.filter_map(|entry| entry.split('=').next()).collect();
            names.sort_unstable();
            names.retain(|name| !name.starts_with("KEYMOAT_VERSION"));
            assert_eq!(names, ["KEYMOAT_TEST_MARK", "LISTEN_FDNAMES", "LISTEN_FDS"]);
            texts.push(environment);
        }
        // The new process, too, keeps its memory to itself; only root looks into its environment.
        Err(error) => assert!(!rustix::process::geteuid().is_root(), "{error}"),
    }
    let canaries = [key.as_str(), "canary-of-the-named-key", &emulated.key()].map(str::to_owned);
    for (canary, text) in canaries.iter().flat_map(|canary| texts.iter().map(move |text| (canary, text))) {
        assert!(!text.contains(canary.as_str()), "a credential came out");
    }
}
