//! Reads a YAML text as scalars and lists under dotted keys, as they are written, with line and column. Pure.
//!
//! It reads the parser's events instead of using serde: a scalar keeps its text (the password `0123` must stay a text), every
//! value has its position, and one mistake does not hide the next.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::origin::Origin;
use super::problems::Problems;
use super::raw::{RawConfig, RawNode, RawValue};

/// The maximum number of values of a file, including those that aliases repeat: otherwise a file of a few lines could fill the memory.
const VALUES_MAX: usize = 100_000;

/// Reads a file's text. Adds mistakes of syntax to `problems`.
pub(crate) fn read(text: &str, file: &Arc<Path>, problems: &mut Problems) -> RawConfig {
    let mut raw = RawConfig::default();
    let mut reader = YamlReader::new(text, file, problems);
    let mut has_document = false;
    while let Some((event, span)) = reader.next() {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            _ if has_document => {
                let origin = reader.origin(&span);
                reader.problems.add(
                    origin,
                    "",
                    "unexpected second document: the configuration is one YAML document",
                );
                break;
            }
            event => {
                has_document = true;
                let origin = reader.origin(&span);
                let node = reader.node(event, &span);
                match node {
                    Node::Map(entries) => flatten("", entries, &mut raw),
                    Node::Value(RawNode::Null) => {}
                    Node::Value(_) => reader.problems.add(
                        origin,
                        "",
                        "the configuration must consist of sections, such as `nats:`, with keys in them",
                    ),
                }
            }
        }
    }
    raw
}

/// Reads a list that a variable or a flag sets as YAML, such as `['*.okx.>']`; `origin` becomes the origin of every item.
pub(crate) fn read_list(text: &str, origin: &Origin) -> Option<Vec<RawValue>> {
    let no_file: Arc<Path> = Arc::from(Path::new(""));
    let mut problems = Problems::default();
    let raw = read(&format!("list: {text}"), &no_file, &mut problems);
    match raw.values.into_values().next()?.value {
        RawNode::List(items) if problems.is_empty() => {
            let at = |raw_value: RawValue| RawValue {
                origin: origin.clone(),
                ..raw_value
            };
            Some(items.into_iter().map(at).collect())
        }
        _ => None,
    }
}

/// A value, or a section with its keys in order.
#[derive(Clone)]
enum Node {
    Value(RawNode),
    Map(Vec<(String, Origin, Node, Origin)>),
}

fn flatten(prefix: &str, entries: Vec<(String, Origin, Node, Origin)>, raw: &mut RawConfig) {
    for (key, key_origin, node, origin) in entries {
        let key = format!("{prefix}{key}");
        match node {
            Node::Map(entries) if entries.is_empty() => {
                let value = RawNode::Section;
                raw.values.insert(key, RawValue { value, origin });
            }
            Node::Map(entries) => {
                flatten(&format!("{key}."), entries, raw);
                raw.sections.insert(key, key_origin);
            }
            Node::Value(value) => {
                // Unknown keys and keys without a value are reported at the position of their name.
                raw.sections.insert(key.clone(), key_origin);
                raw.values.insert(key, RawValue { value, origin });
            }
        }
    }
}

struct YamlReader<'t, 'p> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    file: &'p Arc<Path>,
    problems: &'p mut Problems,
    anchors: BTreeMap<usize, Node>,
    values: usize,
}

impl<'t, 'p> YamlReader<'t, 'p> {
    fn new(text: &'t str, file: &'p Arc<Path>, problems: &'p mut Problems) -> Self {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
        };
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            file,
            problems,
            anchors: BTreeMap::new(),
            values: 0,
        }
    }

    /// Returns the next event; after a mistake of syntax there are no more.
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        match self.parser.next()? {
            Ok(next) => Some(next),
            Err(e) => {
                let origin = self.at(e.marker().line(), e.marker().col());
                self.problems
                    .add(origin, "", format!("invalid YAML: {}", e.info()));
                None
            }
        }
    }

    fn at(&self, line: usize, column_from_0: usize) -> Origin {
        Origin::File {
            file: Arc::clone(self.file),
            line,
            column: column_from_0 + 1,
        }
    }

    fn origin(&self, span: &Span) -> Origin {
        self.at(span.start.line(), span.start.col())
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Node {
        let origin = self.origin(span);
        self.values += 1;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), &origin);
                let is_plain = matches!(style, ScalarStyle::Plain);
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if is_plain => RawNode::Null,
                    text => RawNode::Scalar(text.to_owned()),
                };
                self.store(anchor, Node::Value(value))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), &origin);
                let items = self.items();
                self.store(anchor, Node::Value(RawNode::List(items)))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), &origin);
                let entries = self.entries();
                self.store(anchor, Node::Map(entries))
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.unwrap_or(Node::Value(RawNode::Null));
                self.values = self.values.saturating_add(size(&node));
                if self.values > VALUES_MAX {
                    self.problems
                        .add(origin, "", "aliases repeat too many values");
                    return Node::Value(RawNode::Null);
                }
                node
            }
            _ => {
                self.problems.add(
                    origin,
                    "",
                    "unknown alias: a text that begins with * needs quotes",
                );
                Node::Value(RawNode::Null)
            }
        }
    }

    fn store(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        node
    }

    fn check_tag(&mut self, tag: Option<&Tag>, origin: &Origin) {
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            self.problems.add(
                origin.clone(),
                "",
                "unsupported tag: a text that begins with ! needs quotes",
            );
        }
    }

    fn items(&mut self) -> Vec<RawValue> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next() {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let origin = self.origin(&span);
            let value = match self.node(event, &span) {
                Node::Value(value) => value,
                Node::Map(_) => RawNode::Section,
            };
            items.push(RawValue { value, origin });
        }
        items
    }

    fn entries(&mut self) -> Vec<(String, Origin, Node, Origin)> {
        let mut entries: Vec<(String, Origin, Node, Origin)> = Vec::new();
        while let Some((event, span)) = self.next() {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key_origin = self.origin(&span);
            let key = match self.node(event, &span) {
                Node::Value(RawNode::Scalar(key)) => key,
                _ => String::new(),
            };
            let Some((event, span)) = self.next() else {
                break;
            };
            let origin = self.origin(&span);
            let node = self.node(event, &span);
            if key.is_empty() || key.contains('.') {
                self.problems
                    .add(key_origin, "", "a key must be a name, without dots");
            } else if let Some((_, first, ..)) = entries.iter().find(|(known, ..)| *known == key) {
                let text = format!("it is set twice; first at {first}");
                self.problems.add(key_origin, &key, text);
            } else {
                entries.push((key, key_origin, node, origin));
            }
        }
        entries
    }
}

fn size(node: &Node) -> usize {
    match node {
        Node::Map(entries) => entries.iter().map(|(_, _, node, _)| 1 + size(node)).sum(),
        Node::Value(value) => items(value),
    }
}

fn items(value: &RawNode) -> usize {
    match value {
        RawNode::List(leaves) => leaves
            .iter()
            .map(|raw_value| 1 + items(&raw_value.value))
            .sum(),
        _ => 1,
    }
}
