//! nginx in front of something: passes WebSockets on, writes an access log, and may keep answers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Folder, PATIENCE};

const CONFIGURATION: &str = r#"
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 256; }
http {
    log_format all '$request|$http_referer|$status';
    access_log access.log all;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    proxy_cache_path kept keys_zone=kept:1m;
    map $http_upgrade $upgraded { default ""; websocket upgrade; }
    server {
        listen LISTEN;
        location / {
            proxy_pass BEHIND;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgraded;
            FURTHER
        }
        location = /kept-by-the-test { proxy_pass http://LISTEN/own; FURTHER }
        location = /own { access_log off; add_header Cache-Control "max-age=60"; return 200 "own"; }
    }
}
"#;

/// A running nginx; killed on drop.
pub(crate) struct Nginx {
    /// Where it listens, such as `127.0.0.1:40123`.
    pub(crate) address: String,
    folder: Folder,
    child: Child,
}

impl Nginx {
    /// Starts one in front of `behind`, such as `http://127.0.0.1:8787`, with `further` directives for all it passes on.
    pub(crate) fn before(behind: &str, further: &str) -> Self {
        let folder = Folder::new();
        // The port is free for a moment: nobody else asks for this very one.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").to_string();
        let text = CONFIGURATION.replace("LISTEN", &address).replace("BEHIND", behind).replace("FURTHER", further);
        let file = folder.write("nginx.conf", &text);
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("nginx"));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).stdin(Stdio::null());
        let child = command.spawn().expect("nginx is there: install the package nginx-light");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, folder, child }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it wrote about requests; a WebSocket's line comes at its end.
    pub(crate) fn log(&self) -> String {
        let read = || fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        // Lines are written when an answer has ended, which a client may see a moment before.
        std::thread::sleep(Duration::from_millis(50));
        read()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
