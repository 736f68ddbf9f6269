//! The worst phrases do not come back: forms that have to be read twice, denied in doc comments,
//! comments, texts, names of functions, documents and configuration. What to write instead is in
//! `docs/dev/style.md`.

use std::collections::BTreeSet;

use crate::reader::{Kind, Token, tokens};
use crate::workspace::{Files, RUST, walk};

/// A form that is denied.
struct Phrase {
    /// Its words: alternatives by `|`, `*` for any word. Upper and lower case are the same.
    words: &'static str,
    /// Words before it with which it is plain English.
    after: &'static [&'static str],
    /// Words for its `*` with which it is plain English.
    but: &'static [&'static str],
    /// The form to write.
    instead: &'static str,
}

impl Phrase {
    const fn new(words: &'static str, instead: &'static str) -> Self {
        Self {
            words,
            after: &[],
            but: &[],
            instead,
        }
    }
}

const DENIED: &[Phrase] = &[
    Phrase {
        after: &["there"],
        but: &[
            "bigger",
            "different",
            "earlier",
            "fewer",
            "finer",
            "greater",
            "higher",
            "larger",
            "later",
            "less",
            "longer",
            "lower",
            "more",
            "newer",
            "older",
            "one",
            "other",
            "shorter",
            "slower",
            "smaller",
            "worse",
        ],
        ..Phrase::new("is|are|was no *", "is not a …, invalid …, unknown …")
    },
    Phrase::new(
        "somebody|someone|anybody|anyone",
        "the operator, a caller, a client, another worker",
    ),
    Phrase::new(
        "nobody|everybody|everyone",
        "no caller, no worker, every client",
    ),
    Phrase::new("whoever", "the worker that …, any client that …"),
    Phrase::new(
        "who asks|holds|looks|has|reads|takes|waits|wants|writes|knows",
        "the caller, the holder, a reader, a client that …",
    ),
    Phrase::new("has|have|having leave", "may, deletes, lets … expire"),
    Phrase::new(
        "bears|bear|bore|borne|bearing the|a|its|no",
        "has, carries, contains",
    ),
    Phrase::new("is|are|was|were|be|been told", "is reported, receives"),
];

/// The file that shows the denied forms beside those to write.
const STYLE_GUIDE: &str = "docs/dev/style.md";

/// This file, which lists them.
const THIS: &str = "tests/house/prose.rs";

/// Where a denied phrase may stand, as file and phrase, each with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "tests/clients/python/",
    "nobody",
    "the name of a user that a test expects to be refused",
)];

/// A word of prose with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    line: usize,
    /// In lower case.
    text: String,
    /// Whether a sentence, a clause or a cell begins with it.
    is_first: bool,
}

/// Adds the words of a text that begins on this line.
fn add_words(text: &str, mut line: usize, into: &mut Vec<Word>) {
    let (mut word, mut is_first) = (String::new(), into.is_empty());
    for c in text.chars().chain(['\n']) {
        if c.is_alphanumeric() || matches!(c, '_' | '\'' | '’') {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            let text = std::mem::take(&mut word);
            into.push(Word {
                line,
                text,
                is_first: std::mem::take(&mut is_first),
            });
        }
        is_first |= matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '|' | '"');
        line += usize::from(c == '\n');
    }
    // What follows goes on with the sentence unless a mark said otherwise.
    if is_first {
        into.push(Word {
            line,
            text: String::new(),
            is_first: true,
        });
    }
}

/// Returns the pieces of prose of a Rust source: runs of comments, texts, and the names of
/// functions.
fn of_rust(source: &str) -> Vec<Vec<Word>> {
    let tokens = tokens(source);
    let (mut pieces, mut comment) = (Vec::new(), Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        match token.kind {
            Kind::Comment | Kind::Doc => {
                let goes_on =
                    |before: &Token| before.kind == token.kind && before.line + 1 == token.line;
                if !before.is_some_and(goes_on) || token.text.trim().is_empty() {
                    pieces.push(std::mem::take(&mut comment));
                }
                add_words(&token.text, token.line, &mut comment);
            }
            Kind::Text => {
                let mut words = Vec::new();
                add_words(&unescaped(&token.text), token.line, &mut words);
                pieces.push(words);
            }
            Kind::Name if before.is_some_and(|before| before.is("fn")) => {
                let mut words = Vec::new();
                add_words(&token.text.replace('_', " "), token.line, &mut words);
                pieces.push(words);
            }
            _ => {}
        }
    }
    pieces.push(comment);
    pieces
}

/// Replaces escapes by spaces, a new line by one that ends a sentence.
fn unescaped(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push_str(match chars.next() {
                Some('\n') => "\n",
                Some('n') => ". ",
                _ => " ",
            }),
            c => plain.push(c),
        }
    }
    plain
}

/// Returns the pieces of prose of any other file: its paragraphs.
fn of_text(text: &str) -> Vec<Vec<Word>> {
    let mut pieces = vec![Vec::new()];
    for (at, line) in text.lines().enumerate() {
        let line_of_text = line.trim_start_matches([' ', '#', '/', '*', '-', '>']);
        if line_of_text.is_empty() {
            pieces.push(Vec::new());
        }
        add_words(line_of_text, at + 1, pieces.last_mut().unwrap());
    }
    pieces
}

/// Returns where a phrase stands in a piece, with the words that stand there.
fn find(phrase: &Phrase, piece: &[Word]) -> Vec<(usize, String)> {
    let pattern: Vec<Vec<&str>> = phrase
        .words
        .split(' ')
        .map(|word| word.split('|').collect())
        .collect();
    let mut found = Vec::new();
    for (at, words) in piece.windows(pattern.len()).enumerate() {
        let matches = words.iter().zip(&pattern).all(|(word, wanted)| {
            wanted.contains(&word.text.as_str())
                || wanted == &["*"]
                    && !word.text.is_empty()
                    && !phrase.but.contains(&word.text.as_str())
        });
        let goes_on = words.iter().skip(1).all(|word| !word.is_first);
        let is_plain =
            at > 0 && !words[0].is_first && phrase.after.contains(&piece[at - 1].text.as_str());
        if matches && goes_on && !is_plain {
            let text: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
            found.push((words[0].line, text.join(" ")));
        }
    }
    found
}

/// Returns the lines on which a doc comment begins with "What ".
fn what(source: &str) -> Vec<usize> {
    let docs = tokens(source)
        .into_iter()
        .filter(|token| token.kind == Kind::Doc);
    let what = docs.filter(|token| token.text.trim_start().starts_with("What "));
    what.map(|token| token.line).collect()
}

/// Returns the texts beside the Rust sources that people read.
fn documents() -> Files {
    let mut files = Files::new();
    for (folder, extensions) in [
        ("docs", &["md"][..]),
        ("crates", &["md", "html", "js"]),
        (
            "config",
            &["conf", "example", "json", "md", "xml", "yaml", "yml"],
        ),
        ("src", &["md"]),
        ("tests", &["md", "py"]),
    ] {
        for extension in extensions {
            walk(folder, extension, &mut files);
        }
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "justfile",
    ] {
        if let Ok(text) = std::fs::read_to_string(crate::workspace::root().join(name)) {
            files.insert(name.to_owned(), text);
        }
    }
    files
}

/// Whether an exception allows a phrase in a file; notes that it was needed.
fn is_excepted(file: &str, phrase: &str, needed: &mut BTreeSet<usize>) -> bool {
    let mut exceptions = EXCEPTIONS.iter();
    let found =
        exceptions.position(|(place, words, _)| file.starts_with(place) && phrase == *words);
    needed.extend(found);
    found.is_some()
}

#[test]
fn the_worst_phrases_do_not_return() {
    let (mut wrong, mut needed) = (Vec::new(), BTreeSet::new());
    let documents = documents();
    let pieces = RUST.iter().map(|(file, text)| (file, of_rust(text)));
    let pieces = pieces.chain(documents.iter().map(|(file, text)| (file, of_text(text))));
    for (file, pieces) in pieces.filter(|(file, _)| !matches!(file.as_str(), STYLE_GUIDE | THIS)) {
        for (phrase, piece) in DENIED
            .iter()
            .flat_map(|phrase| pieces.iter().map(move |piece| (phrase, piece)))
        {
            for (line, words) in find(phrase, piece) {
                if !is_excepted(file, &words, &mut needed) {
                    wrong.push((
                        file.clone(),
                        line,
                        format!("\"{words}\": {}", phrase.instead),
                    ));
                }
            }
        }
    }
    for (file, text) in RUST.iter() {
        let instead = "\"What …\": begin with a verb (a function) or a noun (a type)";
        wrong.extend(
            what(text)
                .into_iter()
                .map(|line| (file.clone(), line, instead.to_owned())),
        );
    }
    wrong.sort();
    let mut lines: Vec<_> = wrong
        .iter()
        .map(|(file, line, text)| format!("{file}:{line}: {text}"))
        .collect();
    for (at, (file, words, _)) in EXCEPTIONS.iter().enumerate() {
        if !needed.contains(&at) {
            lines.push(format!(
                "{file}: \"{words}\" is not there: take it from EXCEPTIONS"
            ));
        }
    }
    assert!(
        lines.is_empty(),
        "{} phrases:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

#[cfg(test)]
fn found_in(pieces: &[Vec<Word>]) -> Vec<String> {
    let mut found: Vec<_> = DENIED
        .iter()
        .flat_map(|phrase| pieces.iter().flat_map(move |piece| find(phrase, piece)))
        .map(|(line, words)| format!("{line} {words}"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_denied_phrase_is_found_wherever_prose_stands() {
    let source = "\
        /// A lease is no\n\
        /// proof: it is told.\n\
        fn nobody_knows() { f(\"`{}` is no time\\n  hint\"); } // Somebody does.\n";
    assert_eq!(
        found_in(&of_rust(source)),
        [
            "1 is no proof",
            "2 is told",
            "3 is no time",
            "3 nobody",
            "3 somebody"
        ]
    );
    let text = "# Leases\n\nOne bears\nthe name of | who asks.\n";
    assert_eq!(found_in(&of_text(text)), ["3 bears the", "4 who asks"]);
    assert_eq!(
        what("/// What it is.\n/// It is what it is.\nfn f() {}\n//! What else"),
        [1, 4]
    );
}

#[test]
fn plain_english_is_not_denied() {
    for text in [
        "There is no such key; there are no others.",
        "It is no longer than that, and is no more.",
        "The answer is no. Time passes.",
        "the user, who asks_nothing",
        "whoever's `fn is_no_name` stands in code",
    ] {
        assert_eq!(found_in(&of_text(text)), Vec::<String>::new(), "{text}");
    }
}
