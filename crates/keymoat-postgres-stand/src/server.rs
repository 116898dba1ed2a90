//! The server: made from a template, started, killed, started again, asked, and removed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to start; also after a crash, on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);

/// The only user, who may do everything, and the database.
const USER: &str = "keymoat";

/// What runs between the test and the server. The folder goes away with its standard input.
const KEEPER: &str = r#"
folder=$1; shift
pid=
end() {
    [ -n "$pid" ] || return
    # The server itself, also where another program stands in between.
    server=$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)
    kill -s "$1" "${server:-$pid}" 2>/dev/null
    wait "$pid" 2>/dev/null
    pid=
}
trap : INT
while read -r word; do
    case $word in
        start) "$@" >>"$folder/log" 2>&1 </dev/null & pid=$! ;;
        kill) end KILL ;;
        stop) end INT ;;
    esac
    echo "$word"
done
end QUIT
rm -rf "$folder"
"#;

/// Makes a template once; everybody else waits for it.
const TEMPLATE: &str = r#"
[ -e "$1/PG_VERSION" ] && exit 0
rm -rf "$1.partial" && mkdir -p "$1.partial" && { [ "$3" = 0 ] || chown postgres: "$1.partial"; } && shift 3 || exit 1
"$@" && exit 0
exit 1
"#;

/// What the server promises of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Everything, as in production.
    Full,
    /// Nothing beyond a crash of its own processes, for tests that do not pull the plug.
    Process,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    keeper: Child,
    words: Option<ChildStdin>,
    echoes: BufReader<ChildStdout>,
}

impl Postgres {
    /// Starts a new, empty server without a sync to the disk.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Durability::Process, &[])
    }

    /// Starts a new, empty server with further settings, each such as `max_connections=20`.
    #[must_use]
    pub fn start_with(durability: Durability, settings: &[&str]) -> Self {
        Self::start_from(durability, settings, &[], &[])
    }

    /// Starts one that speaks TLS with this certificate and key, in PEM.
    #[must_use]
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let settings = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"];
        Self::start_from(Durability::Process, &settings, &[("server.crt", certificate), ("server.key", key)], &[])
    }

    /// Starts one under another program, such as `strace` with its arguments.
    #[must_use]
    pub fn start_under(durability: Durability, program: &[&str]) -> Self {
        Self::start_from(durability, &[], &[], program)
    }

    fn start_from(durability: Durability, settings: &[&str], files: &[(&str, &str)], under: &[&str]) -> Self {
        let bin = programs().expect(
            "this test needs PostgreSQL: `apt-get install postgresql`, or say in KEYMOAT_POSTGRES_BIN where its `initdb` \
             and `postgres` are (`cargo xtask test` installs it)",
        );
        let folder = new_folder();
        let data = folder.join("data");
        let template = template(&bin);
        let port = free_port();
        run(Command::new("cp").arg("-R").arg(&template).arg(&data));
        for (name, content) in files {
            let path = data.join(name);
            std::fs::write(&path, content).unwrap();
            run(Command::new("chmod").arg("0600").arg(&path));
        }
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres:").arg(&folder));
        }
        run(Command::new("chmod").args(["0700"]).arg(&data));
        let mut command = Command::new("sh");
        command.arg("-c").arg(KEEPER).arg("keeper").arg(&folder);
        command.args(under).args(as_server()).arg(bin.join("postgres")).arg("-D").arg(&data).arg("-k").arg(&folder);
        let fsync = if durability == Durability::Full { "fsync=on" } else { "fsync=off" };
        let port_setting = format!("port={port}");
        let fixed = [fsync, &port_setting, "listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=32MB"];
        for setting in fixed.iter().chain(settings) {
            command.arg("-c").arg(setting);
        }
        // A group of its own: Ctrl-C at the terminal reaches the test, which ends it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh is there");
        let words = keeper.stdin.take();
        let echoes = BufReader::new(keeper.stdout.take().unwrap());
        let mut server = Self { bin, folder, port, keeper, words, echoes };
        server.restart();
        server
    }

    /// Where it is, over TCP.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same by another port of this machine, such as a [`crate::Proxy`]'s.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// Where it is, over its Unix socket.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let host = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{USER}@{host}:{}/postgres", self.port)
    }

    /// Where it listens on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it writes its log, and keeps its data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills it as a crash would; its other processes end by themselves.
    pub fn kill(&mut self) {
        self.tell("kill");
    }

    /// Shuts it down, ending all connections.
    pub fn stop(&mut self) {
        self.tell("stop");
    }

    /// Starts it again and waits until it answers.
    pub fn restart(&mut self) {
        let give_up = Instant::now() + START_WAIT;
        self.tell("start");
        while !self.answers() {
            assert!(Instant::now() < give_up, "PostgreSQL does not start:\n{}", self.log());
            if self.log().trim_end().ends_with("still in use") || self.has_failed() {
                // Processes of the one that was killed hold its memory for a moment.
                std::thread::sleep(Duration::from_millis(100));
                self.tell("stop");
                self.tell("start");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs SQL as the superuser and gives what `psql` prints of it, unaligned.
    pub fn sql(&self, text: &str) -> String {
        let output = self.psql(text);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs SQL in a session of its own, which goes on meanwhile.
    #[must_use]
    pub fn begin_sql(&self, text: &str) -> Child {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.socket_url(), "-c", text]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql is there")
    }

    /// A dump of the whole database, as a backup has it: text, and the content of every table.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        let output = Command::new(self.bin.join("pg_dump")).args(["-d", &self.socket_url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The folder of `pgbench` and the other programs.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.bin
    }

    fn has_failed(&self) -> bool {
        self.log()
            .lines()
            .next_back()
            .is_some_and(|line| line.contains("HINT:") || line.contains("FATAL:  pre-existing"))
    }

    fn answers(&self) -> bool {
        self.psql("SELECT 1").status.success()
    }

    fn psql(&self, text: &str) -> Output {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.socket_url(), "-c", text]);
        command.output().expect("psql is there")
    }

    fn tell(&mut self, word: &str) {
        let words = self.words.as_mut().expect("it runs");
        writeln!(words, "{word}").and_then(|()| words.flush()).expect("the keeper runs");
        let mut echo = String::new();
        self.echoes.read_line(&mut echo).expect("the keeper answers");
        assert_eq!(echo.trim_end(), word, "the keeper ended");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.words.take());
        let _ = self.keeper.wait();
    }
}

/// The folder with the programs of the newest PostgreSQL of this machine, if there is one.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("KEYMOAT_POSTGRES_BIN") {
        return Some(folder.into());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_whole =
        |folder: &PathBuf| ["initdb", "postgres", "psql", "pg_dump"].iter().all(|name| folder.join(name).exists());
    let in_path = std::env::split_paths(&paths).find(is_whole);
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let debian = debian.map(|entry| entry.path().join("bin")).filter(is_whole);
    let version = |folder: &PathBuf| -> Option<u32> { folder.parent()?.file_name()?.to_str()?.parse().ok() };
    in_path.or_else(|| debian.max_by_key(version))
}

/// A data folder as `initdb` makes it, made once on this machine.
fn template(bin: &Path) -> PathBuf {
    let version = Command::new(bin.join("postgres")).arg("--version").output().expect("postgres is there");
    let version: String =
        String::from_utf8_lossy(&version.stdout).chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let root = if is_root() { "1" } else { "0" };
    let user = std::env::var("USER").unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("keymoat-{version}-template{root}-{user}"));
    let partial = format!("{}.partial", folder.display());
    let mut command = Command::new("flock");
    command.arg(format!("{}.lock", folder.display())).args(["sh", "-c"]);
    command.arg(format!("({TEMPLATE}) && {{ [ -e \"$1/PG_VERSION\" ] || mv \"$1.partial\" \"$1\"; }}"));
    command.arg("template").arg(&folder).arg("-").arg(root).args(as_server()).arg(bin.join("initdb"));
    command.args(["-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"]);
    run(command.arg("-D").arg(partial));
    folder
}

/// The words that make a program run as the server's user.
fn as_server() -> &'static [&'static str] {
    if is_root() { &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] } else { &[] }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Short, because the path of a Unix socket is.
fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("keymoat-pg-{}-{number}", std::process::id()));
        if std::fs::create_dir(&folder).is_ok() {
            return folder;
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_survives_a_kill_and_leaves_nothing_behind() {
        let mut server = Postgres::start();
        server.sql("CREATE TABLE one (a int); INSERT INTO one VALUES (7)");
        server.kill();
        server.restart();
        assert_eq!(server.sql("SELECT a FROM one"), "7");
        assert!(String::from_utf8_lossy(&server.dump()).contains("CREATE TABLE public.one"));
        let folder = server.folder().to_owned();
        assert!(folder.exists());
        drop(server);
        assert!(!folder.exists());
    }
}
