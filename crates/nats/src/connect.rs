//! Connecting: servers, authentication, TLS, and the errors of a refused connection.

use std::path::Path;
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ToServerAddrs as _,
};

use mpsync_config::{NatsAuth, NatsConfig};
use mpsync_core::error::{Context as _, Error, Result, chain};

/// How long one attempt to connect may take, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to NATS: one attempt at each server; reconnecting afterwards goes on in the background as configured.
///
/// Fails with [`Cause::Nats`](mpsync_core::error::Cause::Nats) when no server can be reached or when it refuses who we are: callers
/// that wait for a server wrap it in [`retry`](mpsync_core::retry::retry()). Cancel-safe.
pub async fn connect(config: &NatsConfig) -> Result<Client> {
    let servers = servers(&config.url)?;
    let shown = display(&servers);
    let client = options(config)
        .await?
        .connect(servers)
        .await
        .map_err(|e| refused(&e, config))
        .context(|| format!("connecting to NATS at {shown}"))?;
    tracing::debug!(servers = %shown, "connected to nats");
    Ok(client)
}

/// The servers of a configured URL, which may be several separated by commas.
fn servers(url: &str) -> Result<Vec<ServerAddr>> {
    let parts: Vec<&str> = url
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    // The text itself may hold a password and is not repeated.
    let servers: Vec<ServerAddr> = parts
        .to_server_addrs()
        .map_err(|e| Error::config(format!("nats.url: {e}")))?
        .collect();
    if servers.is_empty() {
        return Err(Error::config(
            "nats.url: it names no server, say nats://host:4222",
        ));
    }
    Ok(servers)
}

/// Servers as a person reads them, without user and password.
fn display(servers: &[ServerAddr]) -> String {
    let one = |server: &ServerAddr| format!("{}:{}", server.host(), server.port());
    servers.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn options(config: &NatsConfig) -> Result<ConnectOptions> {
    // The library counts the first connection as an attempt too and takes zero for "for ever".
    let attempts = config.max_reconnect_attempts.map(|n| n.max(1));
    let mut options = ConnectOptions::new()
        .name("mpsync")
        .connection_timeout(CONNECT_TIMEOUT)
        .max_reconnects(attempts)
        .event_callback(|event| async move { log(&event) });
    options = match &config.auth {
        NatsAuth::None => options,
        NatsAuth::UserPassword(user, password) => {
            options.user_and_password(user.clone(), password.reveal().to_owned())
        }
        NatsAuth::Token(token) => options.token(token.reveal().to_owned()),
        NatsAuth::Nkey(path) => options.nkey(nkey_seed(path)?),
        NatsAuth::Credentials(path) => {
            let text = tokio::fs::read_to_string(path).await.map_err(|e| {
                Error::config(format!(
                    "nats.credentials_file: cannot read {}: {e}",
                    path.display()
                ))
            })?;
            options.credentials(&text).map_err(|e| {
                Error::config(format!(
                    "nats.credentials_file: {} is no credentials file: {e}",
                    path.display()
                ))
            })?
        }
    };
    if let Some(path) = &config.tls_ca_file {
        tokio::fs::metadata(path).await.map_err(|e| {
            Error::config(format!(
                "nats.tls_ca_file: cannot read {}: {e}",
                path.display()
            ))
        })?;
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    Ok(options)
}

/// The seed of a user's nkey: the file's only line that is no comment. The library finds a wrong one only while it
/// connects, and says so to nobody.
fn nkey_seed(path: &Path) -> Result<String> {
    let bad =
        |what: String| Error::config(format!("nats.nkey_seed_file: {} {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(seed), None) if nkeys::KeyPair::from_seed(seed).is_ok() => Ok(seed.to_owned()),
        _ => Err(bad("holds no seed of an nkey (SU...)".into())),
    }
}

/// A failed connection in the words of the configuration.
fn refused(error: &ConnectError, config: &NatsConfig) -> Error {
    let error_text = chain(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            let who = match &config.auth {
                NatsAuth::None => "a client that names no user".to_owned(),
                NatsAuth::UserPassword(user, _) => format!("user `{}`", user.escape_debug()),
                NatsAuth::Token(_) => "the token".to_owned(),
                NatsAuth::Nkey(path) => format!("the nkey in {}", path.display()),
                NatsAuth::Credentials(path) => format!("the credentials in {}", path.display()),
            };
            Error::nats(format!("the server refuses {who} ({error_text})"))
                .with_hint("check nats.user with nats.password, nats.token, nats.nkey_seed_file or nats.credentials_file")
        }
        kind if kind == ConnectErrorKind::Tls || error_text.contains("certificate") => Error::nats(
            error_text,
        )
        .with_hint("check nats.tls_ca_file, and that the server's certificate names this host"),
        ConnectErrorKind::ServerParse => Error::config(format!("nats.url: {error_text}")),
        _ => Error::nats(format!("no server answers: {error_text}"))
            .with_hint("is nats-server running, and is nats.url right?"),
    }
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("nats connected"),
        Event::Disconnected => tracing::warn!("nats disconnected"),
        Event::Closed | Event::Draining => tracing::debug!(event = %event, "nats"),
        Event::LameDuckMode => tracing::info!("nats server is about to shut down"),
        Event::SlowConsumer(id) => tracing::warn!(subscription = id, "nats slow consumer"),
        other => tracing::warn!(event = %other, "nats"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_shown_without_their_password() {
        let servers = servers("nats://user:secret@a:4222, tls://b:4333").unwrap();
        assert_eq!(display(&servers), "a:4222, b:4333");
        let e = super::servers(" , ").unwrap_err();
        assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Usage);
        assert!(
            super::servers("nats://user:secret@:x")
                .is_err_and(|e| !e.to_string().contains("secret"))
        );
    }
}
