//! Who may ask: one user with one password, and no page of a foreign origin.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hyper::HeaderMap;
use subtle::ConstantTimeEq;

use crate::error::{Context, Error, Result};

use super::exception::{Exception, code};
use super::request::Credentials;

/// Bytes of randomness in a generated password.
const PASSWORD_BYTES: usize = 24;

/// What a client must present. Never shows the password.
#[derive(Clone)]
pub enum Auth {
    /// Nothing: for loopback listeners that a test holds.
    Open,
    /// This user with this password.
    Password {
        /// The user's name.
        user: String,
        /// The secret.
        password: String,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
        }
    }
}

impl Auth {
    /// The password in this file, without the line end.
    pub fn from_file(user: &str, file: &Path) -> Result<Self> {
        let password = fs::read_to_string(file)
            .doing(|| format!("reading the password file {}", file.display()))?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(Error::config(format!(
                "the password file {} is empty",
                file.display()
            )));
        }
        Ok(Self::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// The password in `file`, which is made at the first start: from the operating system's randomness, readable by its
    /// owner only.
    pub fn from_own_file(user: &str, file: &Path) -> Result<Self> {
        if !file.exists() {
            create_password(file)
                .doing(|| format!("making the password file {}", file.display()))?;
        }
        Self::from_file(user, file)
    }

    /// What no answer may hold.
    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::Open => None,
            Self::Password { password, .. } => Some(password),
        }
    }

    /// Whether these credentials are the right ones. Takes the same time for every wrong password of one length.
    pub(super) fn check(&self, given: &Credentials) -> Result<(), Exception> {
        let Self::Password { user, password } = self else {
            return Ok(());
        };
        let given_user = given.user.as_deref().unwrap_or("default");
        let given_password = given.password.as_deref().unwrap_or_default();
        let same_user = user.as_bytes().ct_eq(given_user.as_bytes());
        let same_password = password.as_bytes().ct_eq(given_password.as_bytes());
        if bool::from(same_user & same_password) {
            return Ok(());
        }
        Err(Exception::new(
            code::AUTHENTICATION_FAILED,
            "AUTHENTICATION_FAILED",
            format!(
                "{}: Authentication failed: password is incorrect, or there is no user with such name",
                given_user.escape_default()
            ),
        ))
    }
}

fn create_password(file: &Path) -> Result<()> {
    let mut random = [0u8; PASSWORD_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let password =
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random);
    // Written aside and linked into place, so that a crash leaves no half of a password.
    let aside = file.with_extension("new");
    match fs::remove_file(&aside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    out.write_all(password.as_bytes())?;
    out.write_all(b"\n")?;
    out.set_permissions(fs::Permissions::from_mode(0o600))?;
    out.sync_all()?;
    fs::rename(&aside, file)?;
    Ok(())
}

/// Refuses requests that a browser sends for a page of somebody else's: a foreign `Origin`, or a `Host` by which this server is not
/// reached (DNS rebinding). `bound` is the address at which the connection arrived, `hosts` what else it is called.
pub(super) fn check_origin(
    headers: &HeaderMap,
    bound: SocketAddr,
    hosts: &[String],
) -> Result<(), Exception> {
    for name in ["host", "origin"] {
        for value in headers.get_all(name) {
            let host = value.to_str().ok().and_then(|text| match name {
                "host" => Some(text),
                _ => text
                    .strip_prefix("http://")
                    .or_else(|| text.strip_prefix("https://")),
            });
            if !host.is_some_and(|host| is_own(host, bound, hosts)) {
                return Err(Exception::denied(format!(
                    "the {name} header names a foreign host"
                )));
            }
        }
    }
    Ok(())
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
    fn only_the_right_user_with_the_right_password_gets_in() {
        let auth = Auth::Password {
            user: "default".into(),
            password: "secret".into(),
        };
        let given = |user: Option<&str>, password: Option<&str>| Credentials {
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
        };
        assert!(auth.check(&given(None, Some("secret"))).is_ok());
        assert!(auth.check(&given(Some("default"), Some("secret"))).is_ok());
        for (user, password) in [
            (None, None),
            (None, Some("secre")),
            (Some("admin"), Some("secret")),
            (Some(""), Some("")),
        ] {
            let e = auth.check(&given(user, password)).expect_err("refused");
            assert_eq!(e.code, 516);
            assert!(!e.text.contains("secret"));
        }
        assert!(!format!("{auth:?}").contains("secret"));
    }

    #[test]
    fn the_first_start_makes_a_password_that_stays_and_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("password");
        let password = |auth| match auth {
            Auth::Password { password, .. } => password,
            Auth::Open => String::new(),
        };
        let first = password(Auth::from_own_file("default", &file).expect("made"));
        assert!(first.len() >= 32);
        assert_eq!(
            first,
            password(Auth::from_own_file("default", &file).expect("read"))
        );
        assert_eq!(
            fs::metadata(&file).expect("file").permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let bound: SocketAddr = "10.1.2.3:8123".parse().expect("address");
        let check = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("value"));
            check_origin(&headers, bound, &["hot-clickhouse".to_owned()]).is_ok()
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
