//! Connecting: servers, authentication, TLS, and the errors of a refused connection.

use std::path::Path;
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ToServerAddrs as _,
};

use mpsync_config::{NatsAuth, NatsConfig};
use mpsync_core::error::{Context as _, Error, Result, chain};

/// Timeout of one attempt to connect, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to NATS, with one attempt at each server. The client reconnects in the background afterwards, as configured.
///
/// # Errors
///
/// [`Cause::Nats`](mpsync_core::error::Cause::Nats) if no server can be reached or the server refuses the client. Callers that
/// wait for a server wrap it in [`retry`](mpsync_core::retry::retry()).
///
/// # Cancel safety
///
/// Cancel-safe.
pub async fn connect(config: &NatsConfig) -> Result<Client> {
    let servers = servers(&config.url)?;
    let addresses = display_servers(&servers);
    let client = options(config)
        .await?
        .connect(servers)
        .await
        .map_err(|e| refused(&e, config))
        .context(|| format!("connecting to NATS at {addresses}"))?;
    tracing::debug!(servers = %addresses, "connected to nats");
    Ok(client)
}

/// Parses the servers of a configured URL, separated by commas.
fn servers(url: &str) -> Result<Vec<ServerAddr>> {
    let parts: Vec<&str> = url
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    // The text may contain a password: the error does not repeat it.
    let servers: Vec<ServerAddr> = parts
        .to_server_addrs()
        .map_err(|e| Error::config(format!("nats.url: {e}")))?
        .collect();
    if servers.is_empty() {
        return Err(Error::config(
            "nats.url: it has no server; an example is nats://host:4222",
        ));
    }
    Ok(servers)
}

/// Returns the text of servers, without users and passwords.
fn display_servers(servers: &[ServerAddr]) -> String {
    let one = |server: &ServerAddr| format!("{}:{}", server.host(), server.port());
    servers.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn options(config: &NatsConfig) -> Result<ConnectOptions> {
    // The client counts the first connection as an attempt, too, and takes zero for "for ever".
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
                    "nats.credentials_file: invalid credentials file {}: {e}",
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

/// Reads the seed of a user's nkey: the file's only line that is not a comment. The client would detect an invalid seed
/// only while it connects, without reporting it.
fn nkey_seed(path: &Path) -> Result<String> {
    let bad = |problem: String| {
        Error::config(format!("nats.nkey_seed_file: {} {problem}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(seed), None) if nkeys::KeyPair::from_seed(seed).is_ok() => Ok(seed.to_owned()),
        _ => Err(bad("does not contain the seed of an nkey (SU...)".into())),
    }
}

/// Returns the error of a failed connection, in terms of the configuration.
fn refused(error: &ConnectError, config: &NatsConfig) -> Error {
    let error_text = chain(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            let client = match &config.auth {
                NatsAuth::None => "a client without a user".to_owned(),
                NatsAuth::UserPassword(user, _) => format!("user `{}`", user.escape_debug()),
                NatsAuth::Token(_) => "the token".to_owned(),
                NatsAuth::Nkey(path) => format!("the nkey in {}", path.display()),
                NatsAuth::Credentials(path) => format!("the credentials in {}", path.display()),
            };
            Error::nats(format!("the server refuses {client} ({error_text})"))
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
    fn displayed_servers_have_no_password() {
        let servers = servers("nats://user:secret@a:4222, tls://b:4333").unwrap();
        assert_eq!(display_servers(&servers), "a:4222, b:4333");
        let e = super::servers(" , ").unwrap_err();
        assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Usage);
        assert!(
            super::servers("nats://user:secret@:x")
                .is_err_and(|e| !e.to_string().contains("secret"))
        );
    }
}
