//! What the machine has: PostgreSQL's programs, the user that it runs as, folders and ports.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::server::USER;

/// Makes a template once; everybody else waits for it.
const TEMPLATE: &str = r#"
[ -e "$1/PG_VERSION" ] && exit 0
rm -rf "$1.partial" && mkdir -p "$1.partial" && { [ "$3" = 0 ] || chown postgres: "$1.partial"; } && shift 3 || exit 1
"$@" && exit 0
exit 1
"#;

/// The folder with the programs of the newest PostgreSQL of this machine, if there is one.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("KEYMOAT_POSTGRES_BIN") {
        return Some(folder.into());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_whole = |folder: &PathBuf| {
        ["initdb", "postgres", "psql", "pg_dump", "pg_basebackup"].iter().all(|name| folder.join(name).exists())
    };
    let in_path = std::env::split_paths(&paths).find(is_whole);
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let debian = debian.map(|entry| entry.path().join("bin")).filter(is_whole);
    let version = |folder: &PathBuf| -> Option<u32> { folder.parent()?.file_name()?.to_str()?.parse().ok() };
    in_path.or_else(|| debian.max_by_key(version))
}

/// A data folder as `initdb` makes it, made once on this machine.
pub(crate) fn template(bin: &Path) -> PathBuf {
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
pub(crate) fn as_server() -> &'static [&'static str] {
    if is_root() { &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] } else { &[] }
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Short, because the path of a Unix socket is.
pub(crate) fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("keymoat-pg-{}-{number}", std::process::id()));
        if std::fs::create_dir(&folder).is_ok() {
            return folder;
        }
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
