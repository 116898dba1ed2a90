//! A proxy in front of something: nginx, Caddy or HAProxy as Debian has them, in a folder of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Folder, PATIENCE};

/// What `nginx.conf` of a package has around the sites.
const NGINX: &str = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr error;\nevents { worker_connections 256; }\nhttp {\n\
                     client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
                     SITES\n}\n";

/// A running proxy; killed on drop.
pub(super) struct Front {
    /// Where it listens, such as `127.0.0.1:40123`.
    pub(super) address: String,
    folder: Folder,
    child: Child,
}

/// A folder for a proxy, and an address at which nobody listens.
pub(super) struct Place {
    pub(super) address: String,
    folder: Folder,
}

impl Place {
    pub(super) fn new() -> Self {
        // The port is free for a moment: nobody else asks for this very one.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").to_string();
        Self { address, folder: Folder::new() }
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Makes a certificate for `localhost` with its key behind it, the first of which is its own authority.
    pub(super) fn certify(&self) -> PathBuf {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        self.folder.write("gateway.key", &key);
        self.folder.write("both.pem", &format!("{certificate}{key}"));
        self.folder.write("gateway.pem", &certificate)
    }

    /// Starts nginx with these `sites`.
    pub(super) fn nginx(self, sites: &str) -> Front {
        let file = self.folder.write("nginx.conf", &NGINX.replace("SITES", sites));
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("nginx"));
        command.arg("-p").arg(self.folder.path()).arg("-c").arg(file);
        self.start(command, "nginx-light")
    }

    /// Starts Caddy with this `Caddyfile`.
    pub(super) fn caddy(self, text: &str) -> Front {
        let file = self.folder.write("Caddyfile", text);
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        for home in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(home, self.folder.path());
        }
        self.start(command, "caddy")
    }

    /// Starts HAProxy with this configuration.
    pub(super) fn haproxy(self, text: &str) -> Front {
        let file = self.folder.write("haproxy.cfg", text);
        let program =
            ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("haproxy"));
        command.arg("-db").arg("-f").arg(file);
        self.start(command, "haproxy")
    }

    fn start(self, mut command: Command, package: &str) -> Front {
        let Self { address, folder } = self;
        let printed = fs::File::create(folder.path().join("printed.log")).expect("a file");
        let errors = printed.try_clone().expect("a file");
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(printed).stderr(errors);
        let child = command.spawn().unwrap_or_else(|_| panic!("install the Debian package `{package}`"));
        let mut front = Front { address, folder, child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&front.address).is_err() {
            let has_ended = front.child.try_wait().expect("it is ours").is_some();
            assert!(
                !has_ended && Instant::now() < deadline,
                "{package} does not listen: {}",
                front.read("printed.log")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        front
    }
}

impl Front {
    /// The path of one of its files.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What stands in one of its files.
    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Everything that it wrote, and what it was written by.
    pub(super) fn everything(&self) -> String {
        let files = fs::read_dir(self.folder.path()).expect("a folder").flatten();
        files
            .filter_map(|file| fs::read(file.path()).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
