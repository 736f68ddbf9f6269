//! From spans and log lines to traces: each span of ours is one, and each log line within it that says how long something took is a
//! part of it. A transfer task is a trace, its steps are its spans.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes as NewSpan, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::otlp::{Attribute, Attributes, EndedSpan, Remark};

/// Remarks of one span at most.
const REMARKS_MAX: usize = 32;

/// The field of a log line that says how long, in seconds, what it tells of took.
const DURATION: &str = "duration";

/// Makes traces of spans and hands them on. Never waits: where they are not taken fast enough they are counted, and lost.
pub(super) struct Traces {
    pub(super) out: mpsc::Sender<EndedSpan>,
    pub(super) lost: Arc<AtomicU64>,
}

/// A span that has not ended.
struct Open {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    from_unix_nanos: u64,
    attributes: Attributes,
    remarks: Vec<Remark>,
    failure: Option<String>,
}

impl Traces {
    fn hand_on(&self, ended: EndedSpan) {
        if self.out.try_send(ended).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Traces {
    fn on_new_span(&self, new: &NewSpan<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        if !is_ours(span.metadata().target()) {
            return;
        }
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            let open = extensions.get::<Open>()?;
            Some((open.trace, open.id))
        });
        let mut fields = EventFields::default();
        new.record(&mut fields);
        span.extensions_mut().insert(Open {
            trace: above.map_or_else(rand::random, |(trace, _)| trace),
            id: rand::random(),
            parent: above.map(|(_, id)| id),
            from_unix_nanos: unix_nanos(SystemTime::now()),
            attributes: fields.attributes,
            remarks: Vec::new(),
            failure: None,
        });
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            let mut fields = EventFields::default();
            record.record(&mut fields);
            open.attributes.append(&mut fields.attributes);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = *event.metadata().level();
        let Some(span) = context.event_span(event) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<Open>() else {
            return;
        };
        let mut fields = EventFields::default();
        event.record(&mut fields);
        let now = SystemTime::now();
        if level == Level::ERROR {
            open.failure = Some(fields.message());
        }
        if let Some(took) = fields.took {
            self.hand_on(EndedSpan {
                trace: open.trace,
                id: rand::random(),
                parent: Some(open.id),
                name: fields.message.clone(),
                from_unix_nanos: unix_nanos(now.checked_sub(took).unwrap_or(UNIX_EPOCH)),
                until_unix_nanos: unix_nanos(now),
                failure: (level == Level::ERROR).then(|| fields.message()),
                attributes: fields.attributes,
                remarks: Vec::new(),
            });
        } else if level <= Level::WARN && open.remarks.len() < REMARKS_MAX {
            open.remarks.push(Remark {
                at_unix_nanos: unix_nanos(now),
                text: fields.message,
                attributes: fields.attributes,
            });
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(open) = span.extensions_mut().remove::<Open>() else {
            return;
        };
        self.hand_on(EndedSpan {
            trace: open.trace,
            id: open.id,
            parent: open.parent,
            name: span.name().to_owned(),
            from_unix_nanos: open.from_unix_nanos,
            until_unix_nanos: unix_nanos(SystemTime::now()),
            attributes: open.attributes,
            remarks: open.remarks,
            failure: open.failure,
        });
    }
}

/// Whether a span is of this crate and not of a library.
fn is_ours(target: &str) -> bool {
    target
        .split("::")
        .next()
        .is_some_and(|name| name == "mpsync" || name.starts_with("mpsync_"))
}

fn unix_nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The fields of a span or of a log line.
#[derive(Default)]
struct EventFields {
    message: String,
    took: Option<Duration>,
    attributes: Attributes,
}

impl EventFields {
    fn add(&mut self, field: &Field, attribute: Attribute) {
        self.attributes.push((field.name(), attribute));
    }

    /// The message, and the error where one is named.
    fn message(&self) -> String {
        let error = self.attributes.iter().find(|(name, _)| *name == "error");
        match error {
            Some((_, Attribute::Text(error))) => format!("{}: {error}", self.message),
            _ => self.message.clone(),
        }
    }
}

impl Visit for EventFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == DURATION {
            self.took = Duration::try_from_secs_f64(value).ok();
        }
        self.add(field, Attribute::Number(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Attribute::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let attribute = match i64::try_from(value) {
            Ok(value) => Attribute::Whole(value),
            Err(_) => Attribute::Text(value.to_string()),
        };
        self.add(field, attribute);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Attribute::Truth(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, Attribute::Text(value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_span_is_a_trace_and_what_took_time_within_it_is_a_part_of_it() {
        let (out, mut ended) = mpsc::channel(3);
        let lost = Arc::new(AtomicU64::new(0));
        let traces = Traces {
            out,
            lost: Arc::clone(&lost),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(traces), || {
            let task =
                tracing::error_span!("task", dataset = "trades", window = tracing::field::Empty);
            task.record("window", "w");
            let within = task.enter();
            tracing::info!(rows = 7_u64, duration = 1.5, "exported");
            tracing::info!("not worth a remark");
            tracing::warn!(error = "late", "tried again");
            let step = tracing::info_span!("step");
            step.in_scope(|| tracing::error!(error = "away", "it failed"));
            drop(step);
            drop(within);
            drop(task);
            // Nobody has taken the three yet.
            drop(tracing::info_span!("one too many"));
            tracing::error!(duration = 1.0, "of no span");
        });
        let all: Vec<EndedSpan> = std::iter::from_fn(|| ended.try_recv().ok()).collect();
        let names: Vec<&str> = all.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["exported", "step", "task"]);
        assert_eq!(lost.load(Ordering::Relaxed), 1);
        let (exported, step, task) = (&all[0], &all[1], &all[2]);
        assert!(exported.trace == task.trace && step.trace == task.trace && task.trace != 0);
        assert_eq!(
            (exported.parent, step.parent),
            (Some(task.id), Some(task.id))
        );
        assert_eq!(task.parent, None);
        assert_eq!(
            exported.until_unix_nanos - exported.from_unix_nanos,
            1_500_000_000
        );
        assert_eq!(exported.attributes[0], ("rows", Attribute::Whole(7)));
        assert_eq!(task.attributes[1], ("window", Attribute::Text("w".into())));
        assert_eq!(task.remarks.len(), 1);
        assert_eq!(task.failure, None);
        assert_eq!(step.failure.as_deref(), Some("it failed: away"));
    }
}
