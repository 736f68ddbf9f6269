//! A real S3-compatible store (SeaweedFS) in a process of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::engine::until;
use super::free_port;

/// The bucket that is there.
pub(crate) const BUCKET: &str = "archive";
const KEY: &str = "the-key";
/// Looked for in everything that is printed.
pub(crate) const SECRET: &str = "the-secret-that-is-never-printed";

/// The store. It ends with the value.
pub(crate) struct S3 {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    filer_port: u16,
    https_port: Option<u16>,
}

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("MPSYNC_SEAWEEDFS") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    cache
        .expect("a cache folder")
        .join("mpsync/seaweedfs-4.48/weed")
}

impl S3 {
    /// Starts one with a bucket.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one that also listens for TLS, with the certificate and key in these files.
    pub(crate) fn start_with(tls: Option<(&Path, &Path)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let identities = serde_json::json!({"identities": [{
            "name": "mpsync", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }]});
        let identities_file = folder.path().join("identities.json");
        std::fs::write(&identities_file, identities.to_string()).expect("written");
        std::fs::create_dir(folder.path().join("data")).expect("made");
        let (port, filer_port) = (free_port(), free_port());
        let https_port = tls.map(|_| free_port());
        let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new(program());
        command.args(["-logtostderr=true", "server", "-filer", "-s3"]);
        for (name, value) in [
            ("ip", "127.0.0.1".to_owned()),
            ("ip.bind", "127.0.0.1".to_owned()),
            ("master.port", free_port().to_string()),
            ("master.port.grpc", free_port().to_string()),
            ("volume.port", free_port().to_string()),
            ("volume.port.grpc", free_port().to_string()),
            ("filer.port", filer_port.to_string()),
            ("filer.port.grpc", free_port().to_string()),
            ("s3.port", port.to_string()),
            ("s3.port.grpc", free_port().to_string()),
            ("s3.port.iceberg", "0".to_owned()),
            ("s3.port.lance", "0".to_owned()),
            ("master.volumeSizeLimitMB", "64".to_owned()),
            ("master.electionTimeout", "1s".to_owned()),
            ("s3.autoCreateBucket", "false".to_owned()),
            ("master.telemetry", "false".to_owned()),
            ("volume.max", "40".to_owned()),
        ] {
            command.arg(format!("-{name}={value}"));
        }
        command
            .arg(format!("-dir={}", folder.path().join("data").display()))
            .arg(format!("-s3.config={}", identities_file.display()));
        if let (Some((certificate, key)), Some(https_port)) = (tls, https_port) {
            command
                .arg(format!("-s3.cert.file={}", certificate.display()))
                .arg(format!("-s3.key.file={}", key.display()))
                .arg(format!("-s3.port.https={https_port}"));
        }
        let child = command
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("SeaweedFS starts; `just tools` fetches it");
        let mut server = Self {
            child,
            folder,
            port,
            filer_port,
            https_port,
        };
        until("the S3 store to listen", || {
            let status = server.child.try_wait().expect("a status");
            if let Some(status) = status {
                let log = std::fs::read_to_string(server.folder.path().join("log"));
                panic!("SeaweedFS ended with {status}: {}", log.unwrap_or_default());
            }
            TcpStream::connect(("127.0.0.1", https_port.unwrap_or(port))).is_ok()
        });
        // A bucket is a folder below /buckets of its file system.
        until("the bucket", || make_folder(filer_port));
        server
    }

    /// The configuration's `archive:` section for an archive below a prefix of its own.
    pub(crate) fn section(&self, prefix: &str) -> String {
        format!(
            "{{url: 's3://{BUCKET}/{prefix}', s3_endpoint: 'http://127.0.0.1:{}', s3_allow_http: true, {}}}",
            self.port,
            self.key()
        )
    }

    /// The same over TLS.
    pub(crate) fn secure_section(&self, prefix: &str, authority: &Path) -> String {
        format!(
            "{{url: 's3://{BUCKET}/{prefix}', s3_endpoint: 'https://localhost:{}', s3_tls_ca_file: {}, {}}}",
            self.https_port.expect("it listens for TLS"),
            authority.display(),
            self.key()
        )
    }

    /// Writes an object past the store's own interface, as damage does.
    pub(crate) fn put(&self, key: &str, content: &str) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.filer_port)).expect("connected");
        let request = format!(
            "PUT /buckets/{BUCKET}/{key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        );
        let mut answer = String::new();
        socket.write_all(request.as_bytes()).expect("sent");
        socket.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    fn key(&self) -> String {
        let file = self.folder.path().join("credentials");
        super::write_secret(
            &file,
            format!("[archive]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"),
        );
        format!(
            "s3_credentials_file: {}, s3_profile: archive",
            file.display()
        )
    }
}

fn make_folder(filer_port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", filer_port)) else {
        return false;
    };
    let request = format!(
        "POST /buckets/{BUCKET}/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let mut answer = String::new();
    socket.write_all(request.as_bytes()).is_ok()
        && socket.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 20")
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
