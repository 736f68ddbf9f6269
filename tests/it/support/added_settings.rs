//! A proxy in front of a ClickHouse server that adds settings to each request, as the profile of its user would.
//!
//! A setting that the request carries itself holds, as it does against a profile.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

/// A request's head is no longer than this.
const HEAD_MAX: usize = 1 << 20;

/// Listens in front of a server for as long as the process runs; gives its port.
pub(crate) fn start(server: u16, settings: &[(&str, &str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let settings: Vec<(String, String)> = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), encoded(value)))
        .collect();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let settings = settings.clone();
            std::thread::spawn(move || relay(client, server, &settings));
        }
    });
    port
}

/// A value as it is written in a URL.
fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// Passes one request on, and its answer back. The server is asked to close the connection after it, so that the client opens
/// another one for its next request.
fn relay(mut client: TcpStream, server: u16, settings: &[(String, String)]) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if head.len() > HEAD_MAX || client.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    server
        .write_all(with_settings(&String::from_utf8(head).ok()?, settings)?.as_bytes())
        .ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let sending = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    sending.join().ok()
}

/// A request's head with the settings that it does not carry itself.
fn with_settings(head: &str, settings: &[(String, String)]) -> Option<String> {
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let mut target = target.to_owned();
    for (name, value) in settings {
        let carried = [format!("?{name}="), format!("&{name}=")];
        if !carried.iter().any(|own| target.contains(own)) {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.extend([name.as_str(), "=", value.as_str()]);
        }
    }
    let fields: Vec<_> = fields
        .split("\r\n")
        .filter(|field| !field.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    Some(format!(
        "{method} {target} {version}\r\nConnection: close\r\n{}",
        fields.join("\r\n")
    ))
}
