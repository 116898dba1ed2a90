//! What is measured: the gateway as people run it, and nginx set up to do the same; how much each has used.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::load::Target;
use crate::process::{self, Running};
use crate::ready;

const GATEWAY: &str = r#"
[listen]
data = "127.0.0.1:0"
data_tls = "127.0.0.1:0"
threads = 1

[upstream.bench]
url = "http://UPSTREAM"
secret = "${file:upstream.key}"
inject = "header:X-API-Key"

[route.bench]
upstream = "bench"
paths = ["/api/*", "/ws"]

[limits]
connections_max = 20000

[log]
format = "json"
"#;

/// Tuned: buffers that hold a whole message, kept connections, a log that is written in blocks.
const NGINX: &str = r#"
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections 20000; }
http {
    access_log access.log combined buffer=64k flush=100ms;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    keepalive_requests 1000000000;
    map_hash_bucket_size 256;
    map $http_x_api_key $known { default 0; "KEY" 1; }
    map $http_upgrade $upgraded { default ""; websocket upgrade; }
    upstream bench { server UPSTREAM; keepalive 64; keepalive_requests 1000000000; }
    server {
        listen LISTEN;
        location / {
            if ($known = 0) { return 401; }
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_buffer_size 64k;
            proxy_buffers 8 64k;
            proxy_busy_buffers_size 128k;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgraded;
            proxy_set_header X-API-Key "the real one";
        }
    }
}
"#;

/// A proxy that runs, and where clients find it.
pub(crate) struct Peer {
    /// Ends it when it is dropped.
    _running: Running,
    /// The process that does the work.
    pub(crate) process: u32,
    pub(crate) plain: Target,
    pub(crate) tls: Option<Target>,
}

impl Peer {
    /// Starts the gateway in `folder`; `wrap` may put another program in front, such as a profiler.
    pub(crate) fn gateway(binary: &Path, folder: &Path, upstream: SocketAddr, wrap: &[&str]) -> Result<Self> {
        let written = GATEWAY.replace("UPSTREAM", &upstream.to_string());
        fs::create_dir_all(folder).context("cannot make a folder")?;
        fs::write(folder.join("keymoat.toml"), written).context("cannot write the configuration")?;
        fs::write(folder.join("upstream.key"), "the-real-key").context("cannot write the secret")?;
        let mut create = Command::new(binary);
        let key = process::output(create.args(["key", "create", "bench"]).current_dir(folder));
        let key: Arc<str> = key.context("`keymoat key create` failed")?.into();
        let mut words = wrap.iter().map(Path::new).chain([binary]);
        let mut command = Command::new(words.next().unwrap_or(binary));
        command.args(words).args(["serve", "--json"]);
        let (running, ready) = ready::start(&mut command, folder, "gateway")?;
        let address = |name| anyhow::Ok(ready::text(&ready, name)?.rsplit('/').next().unwrap_or_default().parse()?);
        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from_pem_file(ready::text(&ready, "ca_file")?).context("no authority")?)?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let plain = Target { address: address("gateway")?, tls: None, key };
        let tls = Target { address: address("gateway_tls")?, tls: Some(Arc::new(tls)), ..plain.clone() };
        Ok(Self { process: running.id(), _running: running, plain, tls: Some(tls) })
    }

    /// Starts nginx in `folder`.
    pub(crate) fn nginx(folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let key: Arc<str> = "km_BenchBenchBenchBenchBenchBenchBenchBenchBench0000".into();
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let written = NGINX.replace("UPSTREAM", &upstream.to_string()).replace("KEY", &key);
        fs::create_dir_all(folder).context("cannot make a folder")?;
        let file = folder.join("nginx.conf");
        fs::write(&file, written.replace("LISTEN", &address.to_string())).context("cannot write nginx.conf")?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&file);
        let log = process::append(&folder.join("nginx.log"))?;
        let mut running = Running::start(command.stdout(log.try_clone()?).stderr(log))?;
        let deadline = Instant::now() + ready::LIMIT;
        let worker = loop {
            let children = format!("/proc/{0}/task/{0}/children", running.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            if let Some(worker) = children.split_whitespace().next() {
                break worker.parse()?;
            }
            let waits = running.ended()?.is_none() && Instant::now() < deadline;
            ensure!(waits, "nginx: {}", fs::read_to_string(folder.join("nginx.log"))?);
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok(Self { process: worker, _running: running, plain: Target { address, tls: None, key }, tls: None })
    }

    /// The processor time that it has used, all threads together.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process)).context("it has ended")? {
            let used = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += used.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Bytes of memory that are its own and no file's.
    pub(crate) fn anonymous_bytes(&self) -> Result<u64> {
        let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process)).context("it has ended")?;
        let line = memory.lines().find_map(|line| line.strip_prefix("Anonymous:")).context("no `Anonymous`")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}
