//! The server: made from a template, started, killed, started again, asked, and removed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::machine::{as_server, free_port, is_root, new_folder, programs, run, template};

/// How long a server may take to start; also after a crash, on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);

/// The only user, who may do everything.
pub(crate) const USER: &str = "keymoat";

/// What runs between the test and the server. The folder goes away with its standard input. `$2` is a folder on a small disk
/// of its own, if there is one.
const KEEPER: &str = r#"
folder=$1; small=$2; shift 2
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
        fill) cat /dev/zero >"$small/ballast" 2>/dev/null ;;
        room) rm -f "$small/ballast" ;;
    esac
    echo "$word"
done
end QUIT
[ -z "$small" ] || umount -l "$small"
rm -rf "$folder"
"#;

/// Puts what is in the folder `$1` on a small disk of `$2`, which nobody else sees, and goes on with the rest.
const SMALL_DISK: &str = r#"
set -e
mv "$1" "$1.kept" && mkdir -m 0700 "$1"
mount -t tmpfs -o "size=$2,mode=0700" none "$1"
cp -a "$1.kept/." "$1" && chown --reference="$1.kept" "$1" && rm -rf "$1.kept"
shift 2
exec "$@"
"#;

/// What the server promises of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Everything, as in production.
    Full,
    /// Nothing beyond a crash of its own processes, for tests that do not pull the plug.
    Process,
}

/// What a server is made of.
#[derive(Debug, Default)]
struct Plan<'a> {
    /// Whether a commit is synced to the disk.
    is_synced: bool,
    /// Each such as `max_connections=20`.
    settings: &'a [&'a str],
    /// Names and contents, in the folder of its data.
    files: &'a [(&'a str, &'a str)],
    /// A program that it runs under, with its arguments.
    under: &'a [&'a str],
    /// The server that it is a copy of, by its URL. Otherwise it is new and empty.
    copy_of: Option<&'a str>,
    /// A folder in that of its data which is on a disk of its own, and how big that is.
    small_disk: Option<(&'a str, &'a str)>,
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
        Self::start_from(&Plan { is_synced: durability == Durability::Full, settings, ..Plan::default() })
    }

    /// Starts one that speaks TLS with this certificate and key, in PEM.
    #[must_use]
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let settings = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"];
        let files = [("server.crt", certificate), ("server.key", key)];
        Self::start_from(&Plan { settings: &settings, files: &files, ..Plan::default() })
    }

    /// Starts one under another program, such as `strace` with its arguments.
    #[must_use]
    pub fn start_under(durability: Durability, program: &[&str]) -> Self {
        Self::start_from(&Plan { is_synced: durability == Durability::Full, under: program, ..Plan::default() })
    }

    /// Starts a standby of this server, which calls itself `standby` and is read from `port` of this machine: this server's
    /// own or a [`crate::Proxy`]'s.
    #[must_use]
    pub fn start_standby(&self, port: u16) -> Self {
        let link = format!("primary_conninfo=host=127.0.0.1 port={port} user={USER} application_name=standby");
        let url = self.url();
        let settings = [&*link, "wal_retrieve_retry_interval=100ms"];
        let plan = Plan { is_synced: true, settings: &settings, copy_of: Some(&url), ..Plan::default() };
        Self::start_from(&Plan { files: &[("standby.signal", "")], ..plan })
    }

    /// Starts one whose folder `part`, such as `base` or `pg_wal`, is on a disk of `size`, such as `40m`; nothing where
    /// that cannot be had: it takes root, and `unshare`.
    #[must_use]
    pub fn start_on_small_disk(part: &str, size: &str) -> Option<Self> {
        let mut probe = Command::new("unshare");
        probe.args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            return None;
        }
        let plan = Plan { is_synced: true, small_disk: Some((part, size)), ..Plan::default() };
        Some(Self::start_from(&plan))
    }

    fn start_from(plan: &Plan<'_>) -> Self {
        let bin = programs().expect(
            "this test needs PostgreSQL: `apt-get install postgresql`, or say in KEYMOAT_POSTGRES_BIN where its `initdb` \
             and `postgres` are (`cargo xtask test` installs it)",
        );
        let folder = new_folder();
        let data = folder.join("data");
        let port = free_port();
        match plan.copy_of {
            None => run(Command::new("cp").arg("-R").arg(template(&bin)).arg(&data)),
            Some(url) => {
                let mut copy = Command::new(bin.join("pg_basebackup"));
                run(copy.args(["--checkpoint=fast", "--no-sync", "-d", url, "-D"]).arg(&data));
            }
        }
        for (name, content) in plan.files {
            let path = data.join(name);
            std::fs::write(&path, content).unwrap();
            run(Command::new("chmod").arg("0600").arg(&path));
        }
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres:").arg(&folder));
        }
        run(Command::new("chmod").args(["0700"]).arg(&data));
        let small = plan.small_disk.map(|(part, size)| (data.join(part), size));
        let mut command = match &small {
            None => Command::new("sh"),
            Some((small, size)) => {
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", SMALL_DISK, "small-disk"]).arg(small).args([size, "sh"]);
                command
            }
        };
        command.arg("-c").arg(KEEPER).arg("keeper").arg(&folder);
        command.arg(small.map(|(small, _)| small).unwrap_or_default());
        command
            .args(plan.under)
            .args(as_server())
            .arg(bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder);
        let fsync = if plan.is_synced { "fsync=on" } else { "fsync=off" };
        let port_setting = format!("port={port}");
        let fixed = [fsync, &port_setting, "listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=32MB"];
        for setting in fixed.iter().chain(plan.settings) {
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

    /// Makes a standby the primary, and waits until it is one.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote(true, 60)"), "t", "{}", self.log());
    }

    /// Fills its small disk to the last byte.
    pub fn fill_disk(&mut self) {
        self.tell("fill");
    }

    /// Takes away what filled it.
    pub fn make_room(&mut self) {
        self.tell("room");
    }

    /// Whether it answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.answers()
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
