//! Publishing of prepared payloads, and the stream that takes them.

use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use mpsync_config::Config;
use mpsync_core::error::{Error, Result};
use mpsync_nats::ensure_stream;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Took;
use crate::servers::{Nats, cpu_secs};

pub(crate) const NAME: &str = "REPLAYED";
/// Acknowledgements that may be outstanding.
const WINDOW: u64 = 10_000;
/// How often the stream is asked whether more has come, and how often it must say no.
const SETTLE: (Duration, u32) = (Duration::from_millis(250), 8);

/// One message, ready to be sent.
pub(crate) struct Prepared {
    subject: String,
    msg_id: String,
    payload: Bytes,
}

pub(crate) fn prepare(lines: &str) -> Result<Vec<Prepared>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        subject: String,
        msg_id: String,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let parse = |line| {
        let line: Line<'_> =
            serde_json::from_str(line).map_err(|e| Error::malformed(e.to_string()))?;
        Ok(Prepared {
            subject: line.subject,
            msg_id: line.msg_id,
            payload: Bytes::copy_from_slice(line.payload.get().as_bytes()),
        })
    };
    lines.lines().map(parse).collect()
}

/// An empty stream.
pub(crate) struct Stream {
    client: Client,
    jetstream: jetstream::Context,
}

impl Stream {
    pub(crate) async fn new(nats: &Nats) -> Result<Self> {
        let client = async_nats::connect(&nats.url).await.map_err(Error::nats)?;
        let stream = Self {
            jetstream: jetstream::new(client.clone()),
            client,
        };
        stream.delete().await?;
        let mut config = Config::load(None, Vec::new())?.nats;
        NAME.clone_into(&mut config.stream);
        ensure_stream(&stream.jetstream, &config, &["trade.>".to_owned()]).await?;
        Ok(stream)
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        // It may not be there.
        let _ = self.jetstream.delete_stream(NAME).await;
        Ok(())
    }

    /// How many of the messages are in the stream when no more come.
    pub(crate) async fn count(&self, took: Took) -> Result<Took> {
        let mut found = self.jetstream.get_stream(NAME).await.map_err(Error::nats)?;
        let (mut stored, mut same) = (0, 0);
        while same < SETTLE.1 && stored < took.messages {
            tokio::time::sleep(SETTLE.0).await;
            let now = found.info().await.map_err(Error::nats)?.state.messages;
            same = if now == stored { same + 1 } else { 0 };
            stored = now;
        }
        Ok(Took {
            lost: took.messages.saturating_sub(stored),
            ..took
        })
    }

    /// As fast as the client library can with one reply inbox.
    pub(crate) async fn publish(&self, messages: &[Prepared]) -> Result<Took> {
        let inbox = self.client.new_inbox();
        let mut answers = self
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(Error::nats)?;
        let (began, cpu) = (Instant::now(), cpu_secs("self"));
        let (mut sent, mut acknowledged) = (0_u64, 0_u64);
        let mut take = |answer: Option<async_nats::Message>| {
            let answer = answer.ok_or_else(|| Error::nats("the connection was closed"))?;
            if answer.payload.windows(7).any(|w| w == b"\"error\"") {
                let text = String::from_utf8_lossy(&answer.payload).into_owned();
                return Err(Error::nats(text));
            }
            acknowledged += 1;
            Ok(acknowledged)
        };
        let mut done = 0;
        for message in messages {
            while sent - done >= WINDOW {
                done = take(answers.next().await)?;
                while let Some(answer) = answers.next().now_or_never() {
                    done = take(answer)?;
                }
            }
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, message.msg_id.as_str());
            self.client
                .publish_with_reply_and_headers(
                    message.subject.clone(),
                    format!("{inbox}.{sent}"),
                    headers,
                    message.payload.clone(),
                )
                .await
                .map_err(Error::nats)?;
            sent += 1;
        }
        while done < sent {
            done = take(answers.next().await)?;
        }
        let took = Self::took(messages, began, cpu);
        self.count(took).await
    }

    /// Without acknowledgements.
    pub(crate) async fn publish_core(&self, messages: &[Prepared]) -> Result<Took> {
        let (began, cpu) = (Instant::now(), cpu_secs("self"));
        for message in messages {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, message.msg_id.as_str());
            self.client
                .publish_with_headers(message.subject.clone(), headers, message.payload.clone())
                .await
                .map_err(Error::nats)?;
        }
        self.client.flush().await.map_err(Error::nats)?;
        let took = Self::took(messages, began, cpu);
        self.count(took).await
    }

    fn took(messages: &[Prepared], began: Instant, cpu: f64) -> Took {
        Took {
            messages: messages.len() as u64,
            secs: began.elapsed().as_secs_f64(),
            cpu_secs: cpu_secs("self") - cpu,
            peak_megabytes: f64::NAN,
            lost: 0,
        }
    }
}
