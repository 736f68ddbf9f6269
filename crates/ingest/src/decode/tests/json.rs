//! The scanner against `serde_json`: the same texts, the same values.

use proptest::prelude::*;
use serde_json::Value as Tree;
use serde_json::value::RawValue;

use super::super::json::{Flaw, JsonError, MAX_DEPTH, Scanner};
use super::super::value::{JsonItem, JsonKind};
use super::cases;

/// All members of an object.
fn scan(text: &str) -> Result<Vec<(String, JsonItem<'_>)>, JsonError> {
    let mut scanner = Scanner::new(text);
    let mut members = Vec::new();
    let mut scratch = String::new();
    let mut more = scanner.open_object()?;
    while more {
        let key = scanner.key()?.of(text);
        let key = key.string(&mut scratch).unwrap().to_owned();
        members.push((key, scanner.value()?.of(text)));
        more = scanner.more_members()?;
    }
    scanner.end()?;
    Ok(members)
}

/// A value that the scanner found, read by `serde_json` from the scanner's slice.
fn tree(item: JsonItem<'_>) -> serde_json::Result<Tree> {
    match item.kind {
        JsonKind::Text | JsonKind::EscapedText => {
            let mut scratch = String::new();
            let own = item.string(&mut scratch).unwrap().to_owned();
            let theirs: String = serde_json::from_str(&format!("\"{}\"", item.raw))?;
            assert_eq!(own, theirs);
            assert_eq!(item.kind == JsonKind::EscapedText, item.raw.contains('\\'));
            Ok(Tree::String(own))
        }
        _ => serde_json::from_str(item.raw),
    }
}

/// Both accept the text, with the same members, or both refuse it.
fn agree(text: &str) {
    let own = scan(text);
    match serde_json::from_str::<serde_json::Map<String, Tree>>(text) {
        Ok(theirs) => {
            let own = own.unwrap_or_else(|e| panic!("{e:?} in {text:?}"));
            let own: serde_json::Map<_, _> = own
                .into_iter()
                .map(|(key, item)| (key, tree(item).unwrap()))
                .collect();
            assert_eq!(own, theirs, "{text:?}");
        }
        // A float's limits are none of the scanner's: its numbers are text.
        Err(e) if e.to_string().starts_with("number out of range") => {}
        Err(e) => assert!(own.is_err(), "{text:?} should be refused: {e}"),
    }
}

fn json() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        any::<String>().prop_map(Tree::from),
        proptest::collection::vec(any::<char>(), 0..12)
            .prop_map(|chars| Tree::from(chars.into_iter().collect::<String>())),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Tree::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    let pretty = any::<bool>();
    (
        proptest::collection::btree_map(any::<String>(), json(), 0..6),
        pretty,
    )
        .prop_map(|(map, pretty)| {
            let tree = Tree::Object(map.into_iter().collect());
            if pretty {
                serde_json::to_string_pretty(&tree).unwrap()
            } else {
                tree.to_string()
            }
        })
}

/// Pieces of JSON in any order, most of them wrong together.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"b\":", "{\"k\":", "\\", "\\\"", "\\u00e9",
        "\\ud83d", "\\ude00", "\\x", "null", "true", "fals", "0", "-", "-0", "01", "1.", ".5",
        "1.5", "1e", "1e5", "1E-7", "+", " ", "\n", "\t", "\u{1}", "é", "😀", "NaN", "/*", "'",
        "\u{feff}",
    ];
    proptest::collection::vec(proptest::sample::select(PIECES), 0..14)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn well_formed_objects_are_read_as_serde_json_reads_them(text in object()) {
        agree(&text);
    }

    #[test]
    fn one_changed_byte_is_judged_as_serde_json_judges_it(
        text in object(), at in any::<prop::sample::Index>(), byte in any::<u8>(), ascii in any::<bool>(),
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = if ascii { byte & 0x7f } else { byte };
        if let Ok(text) = String::from_utf8(bytes) {
            agree(&text);
        }
    }

    #[test]
    fn a_text_cut_short_is_refused(text in object(), at in any::<prop::sample::Index>()) {
        let at = at.index(text.len());
        if text.is_char_boundary(at) {
            agree(&text[..at]);
        }
    }
}

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn pieces_of_json_are_judged_as_serde_json_judges_them(inside in pieces()) {
        agree(&inside);
        agree(&format!("{{\"k\":{inside}}}"));
        agree(&format!("{{\"k\":\"{inside}\"}}"));
        agree(&format!("{{{inside}}}"));
    }
}

#[test]
fn a_special_byte_is_found_at_every_place_of_a_string() {
    for length in 0..20 {
        for special in ["\"", "\\n", "\u{1f}", "\u{20}", "\u{7f}", "é", "\\"] {
            for at in 0..=length {
                let mut inside = "a".repeat(length);
                inside.insert_str(at, special);
                agree(&format!("{{\"k\":\"{inside}\"}}"));
                agree(&format!("{{\"{inside}\":1}}"));
            }
        }
    }
}

#[test]
fn nesting_is_limited_exactly_as_in_serde_json() {
    let limit = MAX_DEPTH as usize;
    for depth in [limit - 2, limit - 1, limit, 500, 100_000] {
        let text = format!("{{\"k\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        agree(&text);
        assert_eq!(scan(&text).is_ok(), depth < limit, "{depth}");
        let text = format!(
            "{{\"k\":{}1{}}}",
            "{\"a\":".repeat(depth),
            "}".repeat(depth)
        );
        assert_eq!(scan(&text).is_ok(), depth < limit, "{depth}");
    }
}

#[test]
fn every_flaw_is_named_with_its_byte() {
    for (text, flaw, offset) in [
        ("[1]", Flaw::NoObject, 0),
        ("", Flaw::NoObject, 0),
        ("{\"a\":1 \"b\":2}", Flaw::NoMember, 7),
        ("{\"a\":[1 2]}", Flaw::NoElement, 8),
        ("{\"a\":1,}", Flaw::NoKey, 7),
        ("{\"a\" 1}", Flaw::NoColon, 5),
        ("{\"a\":nul}", Flaw::NoValue, 5),
        ("{\"a\":-}", Flaw::NoDigit, 6),
        ("{\"a\":1.e5}", Flaw::NoDigit, 7),
        ("{\"a\":01}", Flaw::NoMember, 6),
        ("{\"a\":\"\\u12g4\"}", Flaw::NoHexDigits, 8),
        ("{\"a\":\"b", Flaw::NoQuote, 7),
        ("{\"a\":\"b\nc\"}", Flaw::Control, 7),
        ("{\"a\":\"\\x\"}", Flaw::Escape, 7),
        ("{\"a\":\"\\udc00\"}", Flaw::FirstSurrogate, 12),
        ("{\"a\":\"\\ud800\"}", Flaw::SecondSurrogate, 12),
        ("{\"a\":1} {", Flaw::More, 8),
    ] {
        assert_eq!(
            scan(text).unwrap_err(),
            JsonError { flaw, offset },
            "{text}"
        );
    }
}

#[test]
fn real_messages_are_read_as_serde_json_reads_them() {
    for message in super::messages::recorded() {
        agree(message.payload.get());
        let raw: &RawValue = &message.payload;
        assert!(!scan(raw.get()).unwrap().is_empty());
    }
}
