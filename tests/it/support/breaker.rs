//! A proxy in front of a server that breaks one connection at the Nth call.
//!
//! A call of ClickHouse's HTTP interface is a request; of NATS it is what the client publishes: requests of the JetStream
//! API, pull requests, acknowledgements, dead letters.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer is waited for that is to be lost, where there may be none.
const NO_ANSWER: Duration = Duration::from_millis(50);

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Nats,
}

/// Where the connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of the call arrives.
    Before,
    /// Half of it arrives.
    Within,
    /// It arrives and is carried out; the answer is lost.
    After,
    /// The same, and nothing later arrives: the caller has ended.
    Last,
}

#[derive(Debug)]
struct Plan {
    fault: Fault,
    /// Calls until the one that breaks; `None` when it has broken, or nothing is to break.
    left: Option<u64>,
    broken: CancellationToken,
}

/// The proxy. It ends with the value.
pub(crate) struct Breaker {
    pub(crate) port: u16,
    plan: Arc<Mutex<Plan>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Breaker {
    /// Listens in front of a server.
    pub(crate) async fn start(protocol: Protocol, server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let plan = Arc::new(Mutex::new(Plan {
            fault: Fault::Before,
            left: None,
            broken: CancellationToken::new(),
        }));
        let shared = plan.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server, protocol, shared.clone()));
            }
        });
        Self {
            port,
            plan,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Breaks the connection at the Nth call from now on; what is given is cancelled then.
    pub(crate) fn arm(&self, fault: Fault, nth: u64) -> CancellationToken {
        let broken = CancellationToken::new();
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Plan {
            fault,
            left: Some(nth),
            broken: broken.clone(),
        };
        broken
    }

    /// Whether it has broken one since.
    pub(crate) fn has_broken(&self) -> bool {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.left.is_none()
    }
}

/// Counts a call; says how its connection breaks, where this is the one.
fn count(plan: &Mutex<Plan>) -> Option<Fault> {
    let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = plan.left else {
        let has_ended = plan.fault == Fault::Last && plan.broken.is_cancelled();
        return has_ended.then_some(Fault::Before);
    };
    plan.left = Some(left - 1).filter(|left| *left > 0);
    plan.left.is_none().then_some(plan.fault)
}

/// The fault has come to pass.
fn note_broken(plan: &Mutex<Plan>) {
    let plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
    if plan.left.is_none() {
        plan.broken.cancel();
    }
}

/// Passes on what both sides say until one of them ends, or the fault comes. Dropping both ends is the fault.
async fn relay(mut client: TcpStream, server: u16, protocol: Protocol, plan: Arc<Mutex<Plan>>) {
    let address = SocketAddr::from(([127, 0, 0, 1], server));
    let Ok(mut server) = TcpStream::connect(address).await else {
        return;
    };
    let mut calls = Calls::new(protocol);
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut loses_answer = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                for piece in calls.split(&asked[..length]) {
                    let fault = if piece.begins_call { count(&plan) } else { None };
                    let passed = match fault {
                        Some(Fault::Before) => return note_broken(&plan),
                        Some(Fault::Within) => piece.bytes.len() / 2,
                        Some(Fault::After | Fault::Last) => {
                            loses_answer = true;
                            piece.bytes.len()
                        }
                        None => piece.bytes.len(),
                    };
                    if server.write_all(&piece.bytes[..passed]).await.is_err() || fault == Some(Fault::Within) {
                        return note_broken(&plan);
                    }
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                calls.answered();
                if loses_answer {
                    return note_broken(&plan);
                }
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(NO_ANSWER), if loses_answer && protocol == Protocol::Nats => {
                return note_broken(&plan);
            }
        }
    }
}

/// Finds the calls in what a client says.
struct Calls {
    protocol: Protocol,
    /// HTTP: whether what comes next is a new request, since the one before was answered.
    answered: bool,
    /// NATS: what came of a command that is not complete.
    rest: Vec<u8>,
}

/// A part of what a client said.
struct Piece {
    begins_call: bool,
    bytes: Vec<u8>,
}

impl Calls {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            answered: true,
            rest: Vec::new(),
        }
    }

    fn answered(&mut self) {
        self.answered = true;
    }

    fn split(&mut self, said: &[u8]) -> Vec<Piece> {
        if self.protocol == Protocol::Http {
            let begins_call = std::mem::take(&mut self.answered);
            return vec![Piece {
                begins_call,
                bytes: said.to_vec(),
            }];
        }
        self.rest.extend_from_slice(said);
        let mut pieces = Vec::new();
        while let Some((begins_call, length)) = command(&self.rest) {
            let bytes = self.rest.drain(..length).collect();
            pieces.push(Piece { begins_call, bytes });
        }
        pieces
    }
}

/// The length of the first command where it is complete, and whether it publishes.
fn command(said: &[u8]) -> Option<(bool, usize)> {
    let line = said.windows(2).position(|two| two == b"\r\n")?;
    let text = std::str::from_utf8(&said[..line]).expect("a NATS command is text");
    let publishes = text.starts_with("PUB ") || text.starts_with("HPUB ");
    let payload = if publishes {
        let bytes = text
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse::<usize>().ok());
        bytes.expect("a publish says its length") + 2
    } else {
        0
    };
    let length = line + 2 + payload;
    (said.len() >= length).then_some((publishes, length))
}

#[test]
fn client_commands_are_separated_at_any_chunking() {
    let said = b"CONNECT {}\r\nPUB a 5\r\nx\r\nyz\r\nSUB a 1\r\nHPUB b r 12 13\r\nNATS/1.0\r\n\r\n1\r\nPING\r\n";
    for step in [1, 2, 7, said.len()] {
        let mut calls = Calls::new(Protocol::Nats);
        let pieces: Vec<Piece> = said.chunks(step).flat_map(|c| calls.split(c)).collect();
        let publishing: Vec<bool> = pieces.iter().map(|p| p.begins_call).collect();
        assert_eq!(publishing, [false, true, false, true, false]);
        assert_eq!(
            pieces
                .iter()
                .flat_map(|p| p.bytes.clone())
                .collect::<Vec<_>>(),
            said
        );
    }
}
