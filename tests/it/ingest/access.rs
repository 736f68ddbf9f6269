//! Who may connect and whom is trusted: every way to say who we are, and one clear error for each way to be refused.

use std::path::Path;
use std::process::Output;

use nkeys::KeyPair;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::tls::{Authority, authority};
use crate::support::trades::{check_trades, trade};

/// Starts a server with this configuration.
async fn server(folder: &Path, config: &str) -> NatsServer {
    let file = folder.join("nats.conf");
    std::fs::write(&file, config).expect("written");
    NatsServer::start_with(&["--config", &file.display().to_string()]).await
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    crate::support::write_secret(&file, text);
    file.display().to_string()
}

/// Connects and asks for the dead letters: the cheapest command that does.
async fn connect(url: &str, settings: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::from(crate::support::mpsync());
    command
        .env("MPSYNC__NATS__URL", url)
        .envs(settings.iter().copied())
        .args(["dead-letters", "list"])
        .kill_on_drop(true);
    let ended = tokio::time::timeout(crate::support::PATIENCE, command.output()).await;
    ended.expect("it ends").expect("it runs")
}

async fn connects(url: &str, settings: &[(&str, &str)]) {
    let output = connect(url, settings).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{settings:?}: {text}");
}

/// It ends with this exit code, says all of `said`, and none of what is secret.
async fn refuses(url: &str, settings: &[(&str, &str)], code: i32, said: &[&str]) {
    let output = connect(url, settings).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{settings:?}: {text}");
    for part in said {
        assert!(text.contains(part), "{settings:?}: {part}: {text}");
    }
    for secret in ["s3cret", "wr0ng"] {
        assert!(!text.contains(secret), "{settings:?}: {text}");
    }
    let errors = text.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "one error: {text}");
}

const USER: &str = "MPSYNC__NATS__USER";
const PASSWORD: &str = "MPSYNC__NATS__PASSWORD";
const TOKEN: &str = "MPSYNC__NATS__TOKEN";
const NKEY: &str = "MPSYNC__NATS__NKEY_SEED_FILE";
const CREDENTIALS: &str = "MPSYNC__NATS__CREDENTIALS_FILE";
const CA: &str = "MPSYNC__NATS__TLS_CA_FILE";

#[tokio::test]
async fn a_user_with_a_password_and_a_token_are_let_in_and_wrong_ones_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let nats = server(
        folder.path(),
        "authorization { user: mpsync, password: s3cret }",
    )
    .await;
    let url = nats.url();
    connects(&url, &[(USER, "mpsync"), (PASSWORD, "s3cret")]).await;
    let file = written(folder.path(), "password", "s3cret\n");
    connects(
        &url,
        &[(USER, "mpsync"), ("MPSYNC__NATS__PASSWORD_FILE", &file)],
    )
    .await;
    refuses(
        &url,
        &[(USER, "mpsync"), (PASSWORD, "wr0ng")],
        1,
        &["refuses user `mpsync`", "nats.password"],
    )
    .await;
    refuses(&url, &[], 1, &["a client without a user"]).await;
    refuses(&url, &[(USER, "mpsync")], 2, &["set one of"]).await;
    drop(nats);
    let nats = server(folder.path(), "authorization { token: s3cret }").await;
    connects(&nats.url(), &[(TOKEN, "s3cret")]).await;
    refuses(&nats.url(), &[(TOKEN, "wr0ng")], 1, &["refuses the token"]).await;
}

#[tokio::test]
async fn an_nkey_is_let_in_another_one_and_no_seed_at_all_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        ours.public_key()
    );
    let nats = server(folder.path(), &config).await;
    let seed = |key: &KeyPair| key.seed().expect("a seed");
    let good = format!("# the daemon's\n{}\n", seed(&ours));
    let good = written(folder.path(), "good.nk", &good);
    connects(&nats.url(), &[(NKEY, &good)]).await;
    let wrong = written(folder.path(), "other.nk", &seed(&other));
    refuses(
        &nats.url(),
        &[(NKEY, &wrong)],
        1,
        &["refuses the nkey in", "other.nk"],
    )
    .await;
    let none = written(folder.path(), "none.nk", "s3cret");
    refuses(&nats.url(), &[(NKEY, &none)], 2, &["the seed of an nkey"]).await;
    refuses(
        &nats.url(),
        &[(NKEY, "/nowhere/x.nk")],
        2,
        &["cannot be read"],
    )
    .await;
}

/// A JWT as NATS reads it: signed by an nkey.
fn jwt(issuer: &KeyPair, subject: &KeyPair, kind: &str, nats: serde_json::Value) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as base64;
    let mut nats = nats;
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let claims = serde_json::json!({
        "jti": "x", "iat": 1_760_000_000, "iss": issuer.public_key(), "name": kind,
        "sub": subject.public_key(), "nats": nats,
    });
    let header = base64.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let text = format!("{header}.{}", base64.encode(claims.to_string()));
    let signature = issuer.sign(text.as_bytes()).expect("signed");
    format!("{text}.{}", base64.encode(signature))
}

#[tokio::test]
async fn a_credentials_file_is_let_in_and_one_of_another_account_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let operator = KeyPair::new_operator();
    let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
    let limits = serde_json::json!({"limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    }});
    let plain = serde_json::json!({"limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    }});
    let config = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
        jwt(&operator, &operator, "operator", serde_json::json!({})),
        system.public_key(),
        account.public_key(),
        jwt(&operator, &account, "account", limits),
        system.public_key(),
        jwt(&operator, &system, "account", plain),
    );
    let nats = server(folder.path(), &config).await;
    let credentials = |name: &str, account: &KeyPair| {
        let user = KeyPair::new_user();
        let permissions = serde_json::json!({"subs": -1, "data": -1, "payload": -1});
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(account, &user, "user", permissions),
            user.seed().expect("a seed"),
        );
        written(folder.path(), name, &text)
    };
    let good = credentials("good.creds", &account);
    connects(&nats.url(), &[(CREDENTIALS, &good)]).await;
    let foreign = credentials("foreign.creds", &KeyPair::new_account());
    refuses(
        &nats.url(),
        &[(CREDENTIALS, &foreign)],
        1,
        &["refuses the credentials in", "foreign.creds"],
    )
    .await;
    let none = written(folder.path(), "none.creds", "s3cret");
    refuses(
        &nats.url(),
        &[(CREDENTIALS, &none)],
        2,
        &["invalid credentials file"],
    )
    .await;
}

#[tokio::test]
async fn nats_over_tls_is_trusted_by_its_own_authority_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (authority(), authority());
    let config = format!(
        "tls {{ cert_file: '{}', key_file: '{}' }}",
        written(folder.path(), "cert.pem", &ours.certificate),
        written(folder.path(), "key.pem", &ours.key)
    );
    let nats = server(folder.path(), &config).await;
    let url = nats.url().replace("nats://", "tls://");
    let good = written(folder.path(), "ca.pem", &ours.ca);
    connects(&url, &[(CA, &good)]).await;
    // Whatever the URL says.
    connects(&nats.url(), &[(CA, &good)]).await;
    let wrong = written(folder.path(), "other.pem", &other.ca);
    refuses(&url, &[(CA, &wrong)], 1, &["nats.tls_ca_file"]).await;
    refuses(&url, &[], 1, &["nats.tls_ca_file"]).await;
    refuses(&url, &[(CA, "/nowhere/ca.pem")], 2, &["/nowhere/ca.pem"]).await;
}

/// Speaks TLS before an engine that does not; returns its port.
async fn terminator(authority: &Authority, engine: u16) -> u16 {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    let certificate =
        CertificateDer::from_pem_slice(authority.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(authority.key.as_bytes()).expect("PEM");
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us ends here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut plain = TcpStream::connect(("127.0.0.1", engine))
                    .await
                    .expect("the engine listens");
                let _ = copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn clickhouse_over_https_is_trusted_by_its_own_authority_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (authority(), authority());
    let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start());
    let port = terminator(&ours, clickhouse.port()).await.to_string();
    let ca = written(folder.path(), "ca.pem", &ours.ca);
    let secure = [
        ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", port.as_str()),
        ("MPSYNC__HOT_STORAGE__CLICKHOUSE_SECURE", "true"),
        ("MPSYNC__HOT_STORAGE__CLICKHOUSE_TLS_CA_FILE", &ca),
        ("MPSYNC__HOT_STORAGE__COMPRESSION", "lz4"),
    ];
    let mut world = World::of(nats, clickhouse, &["trades"], &secure).await;
    world.drain("trades").await;
    publish(&world.nats.jetstream().await, (0..3000).map(trade)).await;
    world.drain("trades").await;
    check_trades(&world, 3000).await;
    let wrong = written(folder.path(), "other.pem", &other.ca);
    let empty = written(folder.path(), "empty.pem", "");
    for (file, code, said) in [
        (wrong.as_str(), 1, "clickhouse_tls_ca_file"),
        (&empty, 2, "has no certificate"),
        ("/nowhere/ca.pem", 2, "clickhouse_tls_ca_file"),
    ] {
        world.set("MPSYNC__HOT_STORAGE__CLICKHOUSE_TLS_CA_FILE", file);
        let output = world.run(&["--dataset", "trades"]).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{file}: {text}");
        assert!(text.contains(said), "{file}: {text}");
    }
}
