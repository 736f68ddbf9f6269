//! Messages in files: one JSON object a line, `{"subject":…,"msg_id":…,"payload":…}`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::Message;
use mpsync_core::error::{Context as _, Error, Result};

/// A line as it stands; the payload is kept byte for byte.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct MessageLine<'a> {
    subject: String,
    msg_id: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The messages of a file, in its order. Empty lines are passed over.
///
/// An error of the iterator names file and line, and is its last item: what follows a broken line is not published.
pub fn read_messages(path: &Path) -> Result<impl Iterator<Item = Result<Message>> + use<>> {
    let file = File::open(path).context(|| format!("opening {}", path.display()))?;
    Ok(Lines {
        path: path.to_owned(),
        reader: BufReader::with_capacity(1 << 20, file),
        number: 0,
        text: String::new(),
        is_done: false,
    })
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    text: String,
    is_done: bool,
}

impl Lines {
    /// The next line that is not empty; `None` at the end of the file.
    fn read(&mut self) -> Result<Option<Message>> {
        loop {
            self.number += 1;
            self.text.clear();
            if self.reader.read_line(&mut self.text)? == 0 {
                return Ok(None);
            }
            if !self.text.trim().is_empty() {
                return parse(&self.text).map(Some);
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Result<Message>> {
        if self.is_done {
            return None;
        }
        let read = self
            .read()
            .context(|| format!("reading {}, line {}", self.path.display(), self.number))
            .transpose();
        self.is_done = !matches!(read, Some(Ok(_)));
        read
    }
}

fn parse(text: &str) -> Result<Message> {
    let line: MessageLine<'_> = serde_json::from_str(text).map_err(|e| {
        Error::malformed(format!("not a message: {e}"))
            .with_hint(r#"a line is {"subject": "…", "msg_id": "…", "payload": {…}}"#)
    })?;
    // Names that would break NATS's protocol, or that are patterns, are refused before anything is sent.
    let is_token = |token: &str| {
        !token.is_empty()
            && token != "*"
            && token != ">"
            && !token.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if !line.subject.split('.').all(is_token) {
        return Err(Error::malformed(format!(
            "invalid subject `{}`",
            line.subject.escape_debug()
        )));
    }
    if line.msg_id.is_empty() || line.msg_id.contains(char::is_control) {
        return Err(Error::malformed(format!(
            "invalid message id `{}`",
            line.msg_id.escape_debug()
        )));
    }
    Ok(Message {
        subject: line.subject,
        msg_id: line.msg_id,
        payload: Bytes::copy_from_slice(line.payload.get().as_bytes()),
    })
}

/// Writes messages as lines that [`read_messages`] reads.
#[derive(Debug)]
pub struct MessageWriter<W: Write>(W);

impl<W: Write> MessageWriter<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self(out)
    }

    /// Writes one line. The payload has to be JSON, and goes out byte for byte unless it holds line ends.
    pub fn write(&mut self, message: &Message) -> Result<()> {
        let payload: &RawValue = serde_json::from_slice(&message.payload)
            .map_err(|e| Error::malformed(format!("the payload is not JSON: {e}")))
            .context(|| format!("writing message {}", message.msg_id))?;
        if payload.get().contains('\n') {
            return Err(Error::malformed("the payload has several lines")
                .context(format!("writing message {}", message.msg_id)));
        }
        let line = MessageLine {
            subject: message.subject.clone(),
            msg_id: message.msg_id.clone(),
            payload,
        };
        serde_json::to_writer(&mut self.0, &line).map_err(std::io::Error::from)?;
        self.0.write_all(b"\n")?;
        Ok(())
    }

    /// Hands what is buffered to the file.
    pub fn finish(mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_keeps_every_byte_on_its_way_through_a_file() {
        let line = r#"{"subject":"trade.x.spot.A-B","msg_id":"trade:x:A-B:1","payload":{"b":1.50, "a":9.2E-7 ,"c":1e400}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        std::fs::write(&path, format!("{line}\n\n{line}\n")).unwrap();
        let read: Vec<Message> = read_messages(&path)
            .unwrap()
            .collect::<Result<_>>()
            .unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(
            read[0].payload,
            r#"{"b":1.50, "a":9.2E-7 ,"c":1e400}"#.as_bytes()
        );
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out);
        writer.write(&read[0]).unwrap();
        writer.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\n"));
    }

    #[test]
    fn a_broken_line_is_named_and_ends_the_reading() {
        let good = r#"{"subject":"a.b","msg_id":"1","payload":{}}"#;
        let bad = [
            (r#"{"subject":"a.b","payload":{}}"#, "msg_id"),
            (
                r#"{"subject":"a.*","msg_id":"1","payload":{}}"#,
                "invalid subject `a.*`",
            ),
            (
                r#"{"subject":"a.b","msg_id":"1\r\nX: y","payload":{}}"#,
                "invalid message id",
            ),
            (r#"{"subject":"a.b","msg_id":"1","payload":{"#, "EOF"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (line, what) in bad {
            let path = folder.path().join("m.jsonl");
            std::fs::write(&path, format!("{good}\n{line}\n{good}\n")).unwrap();
            let read: Vec<Result<Message>> = read_messages(&path).unwrap().collect();
            assert_eq!(read.len(), 2);
            let e = read[1].as_ref().unwrap_err().to_string();
            assert!(e.contains("m.jsonl, line 2") && e.contains(what), "{e}");
        }
    }
}
