//! Who may ask a server of ours over HTTP: the hosts by which it is reached, and secrets that it makes itself.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hyper::HeaderMap;
use subtle::ConstantTimeEq as _;

use crate::Secret;
use mpsync_core::error::{Context as _, Error, Result};

/// Bytes of randomness in a generated secret.
const SECRET_BYTES: usize = 24;

/// Whether a given text is the secret. Takes the same time for every wrong text of one length.
#[must_use]
pub fn is_secret(secret: &Secret, given: &str) -> bool {
    secret.reveal().as_bytes().ct_eq(given.as_bytes()).into()
}

/// The secret in this file, without the line end; an empty one is an error.
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

/// The secret in `file`, which is made at the first start: from the operating system's randomness, readable by its owner
/// only. Processes that start at the same moment have the same.
pub fn own_secret(file: &Path) -> Result<Secret> {
    if !file.exists() {
        make_secret(file).context(|| format!("making the secret in {}", file.display()))?;
    }
    secret_in(file)
}

fn make_secret(file: &Path) -> Result<()> {
    let mut random = [0u8; SECRET_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let secret = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random);
    // Written aside and put into place whole, so that a crash leaves no half of a secret; and never over one that is there, so that
    // of processes that start at the same moment all have the secret of the one that was first.
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut aside = tempfile::Builder::new()
        .prefix(".secret-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    aside.write_all(secret.as_bytes())?;
    aside.write_all(b"\n")?;
    aside.as_file().sync_all()?;
    match aside.persist_noclobber(file) {
        Err(e) if e.error.kind() != ErrorKind::AlreadyExists => Err(e.error.into()),
        _ => Ok(()),
    }
}

/// The header by which a request shows that a browser sent it for a page of somebody else's: a foreign `Origin`, or a `Host` by
/// which this server is not reached (DNS rebinding). `None` where there is none.
///
/// `bound` is the address at which the connection arrived, `hosts` what else the server is called.
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

/// Whether `host[:port]` is a loopback name, one of `hosts`, or the address at which the connection arrived.
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
    fn the_first_start_makes_a_secret_that_stays_and_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("password");
        let first = own_secret(&file).expect("made");
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
    fn processes_that_start_at_the_same_moment_have_the_same_secret() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join("token");
            let all: Vec<Secret> = std::thread::scope(|scope| {
                let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| own_secret(&file))).collect();
                let made = starting
                    .into_iter()
                    .map(|one| one.join().expect("no panic"));
                made.map(|secret| secret.expect("made or read")).collect()
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
