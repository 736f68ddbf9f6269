//! Access checks of an HTTP server: the hosts by which it is reached, and secrets that it generates.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hyper::HeaderMap;
use subtle::ConstantTimeEq as _;

use crate::Secret;
use mpsync_core::error::{Context as _, Error, Result};

/// Random bytes of a generated secret.
const SECRET_BYTES: usize = 24;

/// Compares a text with the secret, in constant time for texts of one length.
#[must_use]
pub fn is_secret(secret: &Secret, text: &str) -> bool {
    secret.reveal().as_bytes().ct_eq(text.as_bytes()).into()
}

/// Reads the secret in a file, without the line end.
///
/// # Errors
///
/// If the file cannot be read or the secret is empty.
pub fn secret_in(file: &Path) -> Result<Secret> {
    let secret = Secret::from_file(file)?;
    if secret.reveal().is_empty() {
        return Err(Error::config(format!(
            "the secret in {} is empty",
            file.display()
        )));
    }
    Ok(secret)
}

/// Reads the secret in `file`, and generates it first if the file does not exist: from the operating system's randomness,
/// readable by its owner only. Processes that start at the same moment get the same secret.
pub fn own_secret(file: &Path) -> Result<Secret> {
    if !file.exists() {
        generate_secret(file).context(|| format!("generating the secret in {}", file.display()))?;
    }
    secret_in(file)
}

fn generate_secret(file: &Path) -> Result<()> {
    let mut random = [0u8; SECRET_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let secret = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random);
    // Written to a temporary file and renamed, so that a crash leaves no partial secret. An existing file is never replaced, so
    // that all processes that start at the same moment use the secret of the first one.
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new()
        .prefix(".secret-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    temporary.write_all(secret.as_bytes())?;
    temporary.write_all(b"\n")?;
    temporary.as_file().sync_all()?;
    match temporary.persist_noclobber(file) {
        Err(e) if e.error.kind() != ErrorKind::AlreadyExists => Err(e.error.into()),
        _ => Ok(()),
    }
}

/// Returns the header that shows that a browser sent the request for a foreign web page: a foreign `Origin`, or a `Host` by
/// which this server is not reached (DNS rebinding). Returns `None` if all headers are acceptable.
///
/// `bound` is the local address of the connection, `hosts` are further names of the server.
#[must_use]
pub fn foreign_header(
    headers: &HeaderMap,
    bound: SocketAddr,
    hosts: &[String],
) -> Option<&'static str> {
    ["host", "origin"].into_iter().find(|name| {
        headers.get_all(*name).iter().any(|value| {
            let host = value.to_str().ok().and_then(|text| match *name {
                "host" => Some(text),
                _ => text
                    .strip_prefix("http://")
                    .or_else(|| text.strip_prefix("https://")),
            });
            !host.is_some_and(|host| is_own(host, bound, hosts))
        })
    })
}

/// Returns whether `host[:port]` is a loopback name, one of `hosts`, or the local address of the connection.
fn is_own(host: &str, bound: SocketAddr, hosts: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.eq_ignore_ascii_case("localhost") || hosts.iter().any(|h| bare.eq_ignore_ascii_case(h))
    {
        return true;
    }
    let literal = name
        .strip_prefix('[')
        .and_then(|n| n.strip_suffix(']'))
        .unwrap_or(name);
    literal
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || ip.to_canonical() == bound.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_persists_and_is_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("password");
        let first = own_secret(&file).expect("generated");
        assert!(first.reveal().len() >= 32);
        assert!(first == own_secret(&file).expect("read"));
        assert_eq!(
            fs::metadata(&file).expect("file").permissions().mode() & 0o777,
            0o600
        );
        assert!(is_secret(&first, first.reveal()));
        assert!(!is_secret(&first, ""));
        fs::write(&file, "\n").expect("written");
        assert!(own_secret(&file).is_err());
    }

    #[test]
    fn concurrent_starts_share_one_secret() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join("token");
            let all: Vec<Secret> = std::thread::scope(|scope| {
                let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| own_secret(&file))).collect();
                let generated = starting
                    .into_iter()
                    .map(|one| one.join().expect("no panic"));
                generated
                    .map(|secret| secret.expect("generated or read"))
                    .collect()
            });
            assert!(all.iter().all(|secret| *secret == all[0]));
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        }
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let bound: SocketAddr = "10.1.2.3:8123".parse().expect("address");
        let check = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("value"));
            foreign_header(&headers, bound, &["hot-clickhouse".to_owned()]).is_none()
        };
        for own in [
            "localhost:8123",
            "127.0.0.1",
            "127.3.2.1:1",
            "[::1]:8123",
            "10.1.2.3:8123",
            "LocalHost",
            "hot-clickhouse:8123",
        ] {
            assert!(check("host", own), "{own}");
        }
        for foreign in [
            "evil.example",
            "10.1.2.4:8123",
            "localhost.evil.example",
            "hot-clickhouse.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!check("host", foreign), "{foreign}");
        }
        assert!(check("origin", "http://localhost:3000"));
        assert!(!check("origin", "https://evil.example"));
        assert!(!check("origin", "null"));
    }
}
