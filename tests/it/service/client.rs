//! A client that sends exactly the given bytes, with and without TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mpsync_net::Tls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::PATIENCE;

/// An answer's status and all of its text.
pub(super) type Answer = (u16, String);

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Asks a server; over TLS where an authority to trust is given.
pub(super) async fn ask(
    address: &str,
    ca: Option<&Path>,
    method: &str,
    path: &str,
    headers: &str,
) -> io::Result<Answer> {
    let asked = async {
        let socket = TcpStream::connect(address).await?;
        let mut wire: Box<dyn Wire> = match ca {
            Some(ca) => Box::new(secured(socket, ca).await?),
            None => Box::new(socket),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 2\r\n\
             Content-Type: application/json\r\n{headers}\r\n{{}}"
        );
        wire.write_all(head.as_bytes()).await?;
        wire.flush().await?;
        let mut answer = Vec::new();
        wire.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let text = tokio::time::timeout(PATIENCE, asked).await;
    let text = text.expect("an answer or an end")?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {text:?}")))?;
    Ok((status, text))
}

async fn secured(socket: TcpStream, ca: &Path) -> io::Result<impl Wire> {
    let trusted = Tls::from_ca_file(ca).expect("an authority").client();
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(trusted));
    connector.connect(name, socket).await
}

/// Waits until the server has closed a connection.
pub(super) async fn closed(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    // An end in order or a reset: both are an end.
    let _ = ended.expect("the server closes it");
}
