//! Encodes ended spans in OpenTelemetry's JSON (OTLP/HTTP, `ExportTraceServiceRequest`). Pure.

use serde_json::{Value, json};

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Text(String),
    Whole(i64),
    Number(f64),
    Truth(bool),
}

/// The attributes of a span or event, by name.
pub(super) type Attributes = Vec<(&'static str, Attribute)>;

/// A warning or an error during a span.
#[derive(Debug, Clone)]
pub(super) struct Remark {
    pub(super) at_unix_nanos: u64,
    pub(super) text: String,
    pub(super) attributes: Attributes,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub(super) struct EndedSpan {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) from_unix_nanos: u64,
    pub(super) until_unix_nanos: u64,
    pub(super) attributes: Attributes,
    pub(super) remarks: Vec<Remark>,
    /// The message of the last error, if there was one.
    pub(super) failure: Option<String>,
}

/// Returns the body of a request with these spans.
pub(super) fn request(spans: &[EndedSpan], host: &str) -> Value {
    let resource = [
        ("service.name", Attribute::Text("mpsync".to_owned())),
        (
            "service.version",
            Attribute::Text(env!("CARGO_PKG_VERSION").to_owned()),
        ),
        ("host.name", Attribute::Text(host.to_owned())),
    ];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(&resource)},
        "scopeSpans": [{"scope": {"name": "mpsync"}, "spans": spans}],
    }]})
}

fn span(span: &EndedSpan) -> Value {
    /// `SPAN_KIND_INTERNAL`
    const INTERNAL: u8 = 1;
    /// `STATUS_CODE_ERROR`; without a status it is `STATUS_CODE_UNSET`.
    const ERROR: u8 = 2;
    let status = match &span.failure {
        Some(failure) => json!({"code": ERROR, "message": failure}),
        None => json!({}),
    };
    let remark = |remark: &Remark| {
        json!({
            "timeUnixNano": remark.at_unix_nanos.to_string(),
            "name": remark.text,
            "attributes": attributes(&remark.attributes),
        })
    };
    let mut document = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": INTERNAL,
        // 64-bit integers are strings in this JSON.
        "startTimeUnixNano": span.from_unix_nanos.to_string(),
        "endTimeUnixNano": span.until_unix_nanos.to_string(),
        "attributes": attributes(&span.attributes),
        "events": span.remarks.iter().map(remark).collect::<Vec<_>>(),
        "status": status,
    });
    if let Some(parent) = span.parent {
        document["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    document
}

fn attributes(attributes: &[(&'static str, Attribute)]) -> Vec<Value> {
    let value = |attribute: &Attribute| match attribute {
        Attribute::Text(text) => json!({"stringValue": text}),
        Attribute::Whole(number) => json!({"intValue": number.to_string()}),
        Attribute::Number(number) => json!({"doubleValue": number}),
        Attribute::Truth(truth) => json!({"boolValue": truth}),
    };
    attributes
        .iter()
        .map(|(key, attribute)| json!({"key": key, "value": value(attribute)}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_encoded_as_the_protocol_requires() {
        let ended = EndedSpan {
            trace: 0xabc,
            id: 0x12,
            parent: Some(0x11),
            name: "exported".into(),
            from_unix_nanos: 1_767_225_600_000_000_000,
            until_unix_nanos: 1_767_225_601_500_000_000,
            attributes: vec![
                ("rows", Attribute::Whole(7)),
                ("duration", Attribute::Number(1.5)),
                ("cleaned", Attribute::Truth(false)),
            ],
            remarks: Vec::new(),
            failure: None,
        };
        let root = EndedSpan {
            parent: None,
            remarks: vec![Remark {
                at_unix_nanos: 5,
                text: "tried again".into(),
                attributes: vec![("error", Attribute::Text("no answer".into()))],
            }],
            failure: Some("halted".into()),
            ..ended.clone()
        };
        let document = request(&[ended, root], "h");
        let spans = &document["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(
            spans[0],
            json!({
                "traceId": "00000000000000000000000000000abc",
                "spanId": "0000000000000012",
                "parentSpanId": "0000000000000011",
                "name": "exported",
                "kind": 1,
                "startTimeUnixNano": "1767225600000000000",
                "endTimeUnixNano": "1767225601500000000",
                "attributes": [
                    {"key": "rows", "value": {"intValue": "7"}},
                    {"key": "duration", "value": {"doubleValue": 1.5}},
                    {"key": "cleaned", "value": {"boolValue": false}},
                ],
                "events": [],
                "status": {},
            })
        );
        assert!(spans[1].get("parentSpanId").is_none());
        assert_eq!(spans[1]["status"], json!({"code": 2, "message": "halted"}));
        assert_eq!(spans[1]["events"][0]["timeUnixNano"], "5");
    }
}
