//! NATS: one way to connect, and the stream of market data.
//!
//! The stream is created where it is absent and never changed where it is there: its limits, replicas and placement are its
//! owner's. What would lose data (subjects that it does not take) is an error, what differs otherwise is logged.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};
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

/// The stream of market data, made if it is absent: on disk, without limits, refusing a message id twice within
/// [`NatsConfig::duplicate_window`].
///
/// A stream that is there already is left as it is. It is a [`Cause::Schema`](mpsync_core::error::Cause::Schema) error when it takes
/// nothing of one of `subjects`; what differs without losing a message is logged. Cancel-safe.
pub async fn ensure_stream(
    jetstream: &jetstream::Context,
    config: &NatsConfig,
    subjects: &[String],
) -> Result<Stream> {
    let context = || format!("opening JetStream stream {}", config.stream);
    if let Some(stream) = find_stream(jetstream, &config.stream)
        .await
        .context(context)?
    {
        check(&stream.cached_info().config, config, subjects).context(context)?;
        return Ok(stream);
    }
    let wanted = stream::Config {
        name: config.stream.clone(),
        subjects: subjects.to_vec(),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        duplicate_window: config.duplicate_window,
        allow_direct: true,
        description: Some("market data, ingested by mpsync".into()),
        ..stream::Config::default()
    };
    match jetstream.create_stream(wanted).await {
        Ok(stream) => {
            tracing::info!(stream = %config.stream, subjects = subjects.len(), "stream created");
            Ok(stream)
        }
        // Somebody else made it between the look and the creation.
        Err(e) if is(&e.kind(), ErrorCode::STREAM_NAME_EXIST) => {
            let stream = find_stream(jetstream, &config.stream)
                .await
                .context(context)?
                .ok_or_else(|| Error::nats(chain(&e)).context(context()))?;
            check(&stream.cached_info().config, config, subjects).context(context)?;
            Ok(stream)
        }
        Err(e) if is(&e.kind(), ErrorCode::STREAM_SUBJECT_OVERLAP) => Err(Error::schema(
            "another stream of the server takes some of these subjects already",
        )
        .with_hint(format!(
            "say that stream's name as nats.stream, or give it other subjects than {}",
            subjects.join(", ")
        ))
        .context(context())),
        Err(e) => Err(unavailable(chain(&e)).context(context())),
    }
}

/// The stream, or `None` where the server knows of none by this name. Nothing is made. Cancel-safe.
pub async fn find_stream(jetstream: &jetstream::Context, name: &str) -> Result<Option<Stream>> {
    match jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(e) => match e.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(refusal)
                if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            jetstream::context::GetStreamErrorKind::InvalidStreamName
            | jetstream::context::GetStreamErrorKind::EmptyName => Err(Error::config(format!(
                "nats.stream: `{}` is no stream name: no spaces, dots or wildcards",
                name.escape_debug()
            ))),
            _ => Err(unavailable(chain(&e))),
        },
    }
}

fn is(kind: &jetstream::context::CreateStreamErrorKind, code: ErrorCode) -> bool {
    matches!(kind, jetstream::context::CreateStreamErrorKind::JetStream(e) if e.error_code() == code)
}

fn unavailable(text: impl fmt::Display) -> Error {
    Error::nats(text).with_hint("does the server run with JetStream (`nats-server --jetstream`)?")
}

/// Says what of an existing stream is not what mpsync would have made.
fn check(found: &stream::Config, config: &NatsConfig, subjects: &[String]) -> Result<()> {
    let stream = config.stream.as_str();
    // A mirror and a stream with sources are filled by the server, whatever their own subjects.
    if found.mirror.is_none() && found.sources.is_none() {
        let taken = |wanted: &str, how: fn(&str, &str) -> bool| {
            found.subjects.iter().any(|own| how(own, wanted))
        };
        let (reached, missed): (Vec<&str>, Vec<&str>) = subjects
            .iter()
            .map(String::as_str)
            .partition(|wanted| taken(wanted, overlaps));
        if !missed.is_empty() {
            return Err(Error::schema(format!(
                "it takes nothing of {}; it takes {}",
                missed.join(", "),
                found.subjects.join(", ")
            ))
            .with_hint(format!(
                "add the subjects to the stream (`nats stream edit {stream} --subjects=...`), or leave their datasets out"
            )));
        }
        for wanted in reached.iter().filter(|wanted| !taken(wanted, covers)) {
            tracing::warn!(
                stream,
                subject = wanted,
                "the stream takes only a part of this subject"
            );
        }
    }
    if found.retention != RetentionPolicy::Limits {
        tracing::warn!(stream, retention = ?found.retention, "the stream forgets messages by other rules than limits");
    }
    if found.storage != StorageType::File {
        tracing::warn!(
            stream,
            "the stream is kept in memory: a restart of the server loses it"
        );
    }
    if found.duplicate_window != config.duplicate_window {
        tracing::info!(
            stream, found = ?found.duplicate_window, configured = ?config.duplicate_window,
            "the stream has another duplicate window"
        );
    }
    Ok(())
}

/// Whether every subject that matches `narrow` matches `wide`; both may hold wildcards.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(own), Some(token)) if own == token => {}
            _ => return false,
        }
    }
}

/// Whether some subject matches both; both may hold wildcards.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// The pattern of the subjects that match both; `None` where there is none. Both may hold wildcards.
#[must_use]
pub fn intersection(one: &str, other: &str) -> Option<String> {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    let mut shared: Vec<&str> = Vec::new();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Some(shared.join(".")),
            (Some(">"), Some(token)) => {
                shared.push(token);
                shared.extend(other);
                return Some(shared.join("."));
            }
            (Some(token), Some(">")) => {
                shared.push(token);
                shared.extend(one);
                return Some(shared.join("."));
            }
            (Some(a), Some(b)) if a == b || b == "*" => shared.push(a),
            (Some("*"), Some(b)) => shared.push(b),
            _ => return None,
        }
    }
}

/// Whether a text is a pattern of subjects: tokens without spaces, `*` for one, `>` for the rest.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        let is_last = tokens.peek().is_none();
        let is_wildcard = token == "*" || (token == ">" && is_last);
        let is_name = !token.is_empty()
            && !token.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c));
        if !is_wildcard && !is_name {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_covers_what_it_matches_and_overlaps_what_it_shares() {
        let table = [
            ("trade.>", "trade.binance.spot.BTC-USDT", true, true),
            ("trade.>", "trade.*.spot.>", true, true),
            ("trade.>", "trade", false, false),
            ("trade.*.spot.*", "trade.>", false, true),
            ("*.binance.>", "trade.>", false, true),
            ("trade.binance.>", "trade.okx.>", false, false),
            (">", "trade.>", true, true),
            ("trade.*", "trade.a.b", false, false),
        ];
        for (wide, narrow, covered, shared) in table {
            assert_eq!(covers(wide, narrow), covered, "{wide} covers {narrow}");
            assert_eq!(overlaps(wide, narrow), shared, "{wide} overlaps {narrow}");
        }
    }

    #[test]
    fn an_intersection_is_what_both_patterns_match() {
        let table = [
            ("trade.>", "*.okx.>", Some("trade.okx.>")),
            ("trade.*.spot.*", "trade.okx.>", Some("trade.okx.spot.*")),
            ("trade.>", ">", Some("trade.>")),
            ("trade.*", "trade.a.b", None),
            ("trade.okx.>", "trade.binance.>", None),
            ("trade.>", "trade", None),
            ("a.*.c", "a.b.*", Some("a.b.c")),
        ];
        for (one, other, both) in table {
            assert_eq!(intersection(one, other).as_deref(), both);
            assert_eq!(intersection(other, one).as_deref(), both);
            assert_eq!(overlaps(one, other), both.is_some());
        }
        for good in [">", "a", "a.*.b", "*.okx.>"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "a.", ".a", "a.>.b", "a b", "a*", "a..b"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

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
