//! An engine in a process of its own, and a client that sees every byte of its answers.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) use super::PATIENCE;

/// Asks until the answer is yes; panics when patience ends.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running `mpsync engine`. Ends with the value.
pub(crate) struct Engine {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) password: String,
}

/// The command line of an engine on a free port.
pub(crate) fn command(data: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpsync"));
    command
        .args(["engine", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Engine {
    /// Starts one and waits until it says that it listens.
    pub(crate) fn start(data: &Path, options: &[&str]) -> Self {
        Self::start_by(command(data, options), data)
    }

    /// Starts one by a command whose standard output is a pipe.
    pub(crate) fn start_by(mut command: Command, data: &Path) -> Self {
        let mut child = command
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut said = String::new();
        let address = BufReader::new(stdout)
            .lines()
            .map(|line| line.expect("a line"))
            .find_map(|line| {
                said.push_str(&line);
                line.trim()
                    .strip_prefix("listening on http://")?
                    .parse()
                    .ok()
            });
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the engine did not start, it said {said:?}");
        };
        let password = std::fs::read_to_string(data.join("password"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        Self {
            child,
            address,
            password,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the engine's end", || {
            status = self.child.try_wait().expect("a status");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Its end, after a signal that was sent already.
    pub(crate) fn stop_after_signal(mut self) -> ExitStatus {
        self.ended()
    }

    /// Its resident memory in bytes: now, and at the most since the last reset.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let field = |name: &str| {
            let line = status
                .lines()
                .find(|l| l.starts_with(name))
                .expect("the field");
            line.split_whitespace()
                .nth(1)
                .and_then(|kib| kib.parse::<u64>().ok())
                .expect("a number")
                << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Sets the peak of [`Engine::memory`] back.
    pub(crate) fn reset_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("it lives");
    }

    /// A request with the right password.
    pub(crate) fn ask(&self, path: &str) -> Ask<'_> {
        let ask = self.ask_anonymously(path);
        if self.password.is_empty() {
            ask
        } else {
            ask.header("X-ClickHouse-Key", &self.password)
        }
    }

    /// A request without a password.
    pub(crate) fn ask_anonymously(&self, path: &str) -> Ask<'_> {
        Ask {
            engine: self,
            method: "POST",
            path: path.to_owned(),
            headers: Vec::new(),
            host: None,
        }
    }

    /// Runs a statement that must succeed; gives its result as text.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let answer = self.ask("/").send(sql.as_bytes());
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.text()
    }

    /// The queries that run, this one not counted.
    pub(crate) fn running(&self) -> u64 {
        let text = self
            .sql("SELECT count() FROM system.processes WHERE query NOT LIKE '%system.processes%'");
        text.trim().parse().expect("a count")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|s| s.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A request to be sent.
pub(crate) struct Ask<'a> {
    engine: &'a Engine,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    host: Option<String>,
}

impl Ask<'_> {
    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Connects and sends the head; the body is the caller's to write.
    pub(crate) fn open(self, framing: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.engine.address).expect("connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let host = self.host.unwrap_or_else(|| self.engine.address.to_string());
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{framing}",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        socket.write_all(head.as_bytes()).expect("sends");
        socket
    }

    /// Sends a body with its length and reads the answer.
    pub(crate) fn send(self, body: &[u8]) -> Answer {
        let head_only = self.method == "HEAD";
        let mut socket = self.open(&format!("Content-Length: {}\r\n", body.len()));
        // An engine that refuses early may close before it has read all: what it answers is what counts.
        let _ = socket.write_all(body);
        Answer::read(socket, head_only)
    }
}

/// An answer, byte for byte.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body came to its proper end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn read(socket: TcpStream, head_only: bool) -> Self {
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("no status in {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a header");
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let mut answer = Self {
            status,
            headers,
            body: Vec::new(),
            whole: true,
        };
        if head_only {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.whole = read_chunks(&mut reader, &mut answer.body);
        } else {
            let length: usize = answer
                .header("content-length")
                .and_then(|l| l.parse().ok())
                .expect("a length");
            let _ = reader.read_to_end(&mut answer.body);
            answer.whole = answer.body.len() == length;
        }
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// ClickHouse's error code.
    pub(crate) fn code(&self) -> Option<&str> {
        self.header("x-clickhouse-exception-code")
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> bool {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() {
            return false;
        }
        let Ok(length) = u64::from_str_radix(line.trim(), 16) else {
            return false;
        };
        let before = body.len();
        let read = reader.by_ref().take(length).read_to_end(body);
        if read.is_err() || (body.len() - before) as u64 != length {
            return false;
        }
        let mut ending = [0; 2];
        if reader.read_exact(&mut ending).is_err() {
            return false;
        }
        if length == 0 {
            return true;
        }
    }
}

/// A chunk of a chunked body.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}
