//! A proxy in front of a ClickHouse server that adds settings to each request, as the profile of a user adds them: what the
//! request says itself takes precedence.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Settings of a profile.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// The proxy. It ends with the value.
pub(crate) struct Profile {
    pub(crate) port: u16,
    requests: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Profile {
    /// Listens in front of a server.
    pub(crate) fn start(server: u16, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (requests, ends) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counted, ended) = (requests.clone(), ends.clone());
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let counted = counted.clone();
                std::thread::spawn(move || {
                    // A client that goes away in the middle is the test's own doing.
                    drop(relay(client, server, settings, &counted));
                });
            }
        });
        Self {
            port,
            requests,
            ends,
            accepting: Some(accepting),
        }
    }

    /// How many requests have passed.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

/// Passes on one request with the settings, and its answer. Each has a connection of its own.
fn relay(
    mut client: TcpStream,
    server: u16,
    settings: Settings,
    counted: &AtomicU64,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    counted.fetch_add(1, Ordering::Relaxed);
    let head = with_settings(&String::from_utf8(head).expect("a head is text"), settings);
    let mut server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server)))?;
    server.write_all(head.as_bytes())?;
    let (mut body, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let sending = std::thread::spawn(move || std::io::copy(&mut body, &mut to_server));
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    drop(sending.join());
    Ok(())
}

/// The head of a request with the settings that it does not have itself; the connection ends with the answer.
fn with_settings(head: &str, settings: Settings) -> String {
    let (line, fields) = head.split_once("\r\n").expect("a request line");
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("a request line: {line}");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect();
    for (name, value) in settings {
        let own = format!("{name}=");
        if !parameters.iter().any(|p| p.starts_with(&own)) {
            parameters.push(format!("{own}{value}"));
        }
    }
    let fields: String = fields
        .split_inclusive("\r\n")
        .filter(|field| !field.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    format!(
        "{method} {path}?{} {version}\r\nConnection: close\r\n{fields}",
        parameters.join("&")
    )
}

#[test]
fn a_profile_does_not_override_the_request() {
    let head = "POST /?limit=0&param_a=1 HTTP/1.1\r\nHost: x\r\nconnection: keep-alive\r\n\r\n";
    assert_eq!(
        with_settings(head, &[("limit", "5"), ("offset", "1")]),
        "POST /?limit=0&param_a=1&offset=1 HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
    );
}
