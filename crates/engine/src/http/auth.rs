//! Authentication: one user with one password, and no page of a foreign origin.

use std::net::SocketAddr;
use std::path::Path;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use subtle::ConstantTimeEq as _;

use mpsync_core::error::Result;
use mpsync_net::Secret;
use mpsync_net::access::{foreign_header, own_secret, secret_in};

use crate::exception::{Exception, code};
use crate::http::request::Credentials;

/// The credentials that a client must present. `Debug` never shows the password.
#[derive(Debug, Clone)]
pub enum Auth {
    /// None: for loopback listeners of tests.
    Open,
    /// This user with this password.
    Password {
        /// The user's name.
        user: String,
        /// The secret.
        password: Secret,
    },
}

impl Auth {
    /// Reads the password from this file, without the line end.
    pub fn from_file(user: &str, file: &Path) -> Result<Self> {
        Ok(Self::with(user, secret_in(file)?))
    }

    /// Reads the password from `file`, which is created at the first start: random, and readable by its owner
    /// only.
    pub fn from_own_file(user: &str, file: &Path) -> Result<Self> {
        Ok(Self::with(user, own_secret(file)?))
    }

    fn with(user: &str, password: Secret) -> Self {
        Self::Password {
            user: user.to_owned(),
            password,
        }
    }

    /// Returns the secret that no answer may contain.
    pub(crate) fn secret(&self) -> Option<&str> {
        match self {
            Self::Open => None,
            Self::Password { password, .. } => Some(password.reveal()),
        }
    }

    /// Checks credentials. Takes the same time for every wrong password of one length.
    pub(crate) fn check(&self, given: &Credentials) -> Result<(), Exception> {
        let Self::Password { user, password } = self else {
            return Ok(());
        };
        let given_user = given.user.as_deref().unwrap_or("default");
        let given_password = given.password.as_deref().unwrap_or_default();
        let same_user = user.as_bytes().ct_eq(given_user.as_bytes());
        let same_password = password
            .reveal()
            .as_bytes()
            .ct_eq(given_password.as_bytes());
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

/// Refuses requests that a browser sends for a foreign page, see [`foreign_header`].
pub(crate) fn check_origin(
    headers: &HeaderMap,
    bound: SocketAddr,
    hosts: &[String],
) -> Result<(), Exception> {
    // Browsers send it with every request, also with those that carry no `Origin`, such as an image's.
    let is_cross_site = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"cross-site");
    if headers.get_all("sec-fetch-site").iter().any(is_cross_site) {
        return Err(Exception::denied(
            "the Sec-Fetch-Site header says that a page of another site sent the request",
        ));
    }
    match foreign_header(headers, bound, hosts) {
        None => Ok(()),
        Some(name) => Err(Exception::denied(format!(
            "the {name} header names a foreign host"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_user_and_password_are_accepted() {
        let auth = Auth::Password {
            user: "default".into(),
            password: Secret::new("secret"),
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
}
