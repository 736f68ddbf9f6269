//! Reading a statement off a request: from the query string, then from the body.

use std::io::Read;

use crate::exception::{Exception, code};
use crate::statement::kind::{self, Statement};
use crate::statement::lexer::Lexer;

/// The most bytes of a statement, without the data of an insert.
const STATEMENT_BYTES_MAX: usize = 8 << 20;
/// The most tokens of a statement: its tokens are in memory while it is checked.
const TOKENS_MAX: usize = 1 << 20;
/// Bytes of a statement that are read at once.
const READ_BYTES: usize = 256 << 10;

/// The beginning of a text.
enum Cut {
    /// An insert, and the available part of its data.
    Insert(Statement, Vec<u8>),
    /// An `INSERT … SELECT`: the text is the statement.
    Query,
    /// An incomplete head of an insert.
    More,
}

fn cut_insert(text: &mut Vec<u8>, complete: bool) -> Result<Cut, Exception> {
    Ok(match kind::parse_insert(text, complete)? {
        Some(Statement::Insert {
            head,
            format,
            data_at,
        }) => {
            let data = text.split_off(data_at);
            let statement = Statement::Insert {
                head,
                format,
                data_at: 0,
            };
            Cut::Insert(statement, data)
        }
        Some(_) => Cut::Query,
        None => Cut::More,
    })
}

/// Reads a statement from query string and body; of an insert only its head, and the data read with it.
pub(crate) fn read_statement(
    query: &str,
    rest: &mut dyn Read,
) -> Result<(Statement, Vec<u8>), Exception> {
    let mut buffer = vec![0; READ_BYTES];
    // Appends the next bytes; false at the end of the body.
    let mut read = |text: &mut Vec<u8>| -> Result<bool, Exception> {
        let n = rest.read(&mut buffer).map_err(|e| broken_body(&e))?;
        text.extend_from_slice(&buffer[..n]);
        too_large(text)?;
        Ok(n > 0)
    };
    let mut text = query.as_bytes().to_vec();
    let mut complete = false;
    if !text.is_empty() {
        if begins_insert_whole(&text)
            && let Cut::Insert(statement, mut data) = cut_insert(&mut text, true)?
        {
            // Data in the query string precedes the body's.
            if data.iter().all(u8::is_ascii_whitespace) {
                data.clear();
            } else {
                data.push(b'\n');
            }
            return Ok((statement, data));
        }
        // Any other statement in the query string is followed by a line end and the body.
        let in_query = text.len();
        text.push(b'\n');
        while read(&mut text)? {}
        if text.len() == in_query + 1 {
            text.pop();
        }
        complete = true;
    }
    // The text is lexed again only when it has doubled: otherwise a long statement in small reads takes time by its square.
    let mut enough = 0;
    loop {
        if text.len() >= enough || complete {
            enough = text.len() * 2;
            if kind::begins_insert(&text) == Some(true) || (complete && begins_insert_whole(&text))
            {
                match cut_insert(&mut text, complete)? {
                    Cut::Insert(statement, data) => {
                        if let Statement::Insert { head, .. } = &statement {
                            check_tokens(head)?;
                        }
                        return Ok((statement, data));
                    }
                    Cut::Query => {
                        while !complete && read(&mut text)? {}
                        break;
                    }
                    Cut::More => {}
                }
            }
        }
        if complete {
            break;
        }
        complete = !read(&mut text)?;
    }
    check_tokens(&text)?;
    Ok((kind::parse(&text)?, Vec::new()))
}

fn begins_insert_whole(text: &[u8]) -> bool {
    kind::begins_insert(&[text, b" "].concat()) == Some(true)
}

fn too_large(text: &[u8]) -> Result<(), Exception> {
    if text.len() <= STATEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(Exception::new(
        code::QUERY_IS_TOO_LARGE,
        "QUERY_IS_TOO_LARGE",
        "The statement is larger than 8 MiB",
    ))
}

fn check_tokens(text: &[u8]) -> Result<(), Exception> {
    if Lexer::new(text, 0).nth(TOKENS_MAX).is_none() {
        return Ok(());
    }
    Err(Exception::new(
        code::QUERY_IS_TOO_LARGE,
        "QUERY_IS_TOO_LARGE",
        format!("The statement has more than {TOKENS_MAX} words and symbols"),
    ))
}

/// Returns the exception for a body that cannot be read.
pub(crate) fn broken_body(error: &std::io::Error) -> Exception {
    match error.kind() {
        std::io::ErrorKind::ConnectionAborted => Exception::new(
            code::CLIENT_DISCONNECTED,
            "NETWORK_ERROR",
            format!("The request's body broke off: {error}"),
        ),
        std::io::ErrorKind::QuotaExceeded => Exception::new(
            code::QUERY_IS_TOO_LARGE,
            "QUERY_IS_TOO_LARGE",
            format!("The request's body is refused: {error}"),
        ),
        std::io::ErrorKind::UnexpectedEof => Exception::new(
            code::INCORRECT_DATA,
            "INCORRECT_DATA",
            format!("The request's body is cut short: {error}"),
        ),
        _ => Exception::new(
            code::CANNOT_DECOMPRESS,
            "CANNOT_DECOMPRESS",
            format!("The request's body cannot be decompressed: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Gives bytes in small pieces, as a decoder does.
    struct Trickle(u64);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = buffer
                .len()
                .min(1024)
                .min(usize::try_from(self.0).unwrap_or(0));
            buffer[..n].fill(b' ');
            self.0 -= n as u64;
            Ok(n)
        }
    }

    #[test]
    fn long_statement_in_small_reads_is_lexed_in_linear_time() {
        let started = Instant::now();
        let read = read_statement("", &mut Trickle(7 << 20));
        assert_eq!(read.map(drop).map_err(|e| e.code), Err(code::SYNTAX_ERROR));
        // Quadratic, it took minutes.
        assert!(started.elapsed() < Duration::from_secs(10));
        let many = b"SELECT 1".iter().chain(b",1".iter().cycle().take(3 << 20));
        let many: Vec<u8> = many.copied().collect();
        let read = read_statement("", &mut &many[..]);
        assert_eq!(
            read.map(drop).map_err(|e| e.code),
            Err(code::QUERY_IS_TOO_LARGE)
        );
        let read = read_statement("", &mut Trickle(9 << 20));
        assert_eq!(
            read.map(drop).map_err(|e| e.code),
            Err(code::QUERY_IS_TOO_LARGE)
        );
    }

    #[test]
    fn insert_is_found_however_its_body_is_split() {
        let body = b"  INSERT INTO t (a) FORMAT CSV\n1\n2\n";
        for cut in 1..body.len() {
            let mut rest = body[..cut].chain(&body[cut..]);
            let (statement, mut data) = read_statement("", &mut rest).expect("an insert");
            rest.read_to_end(&mut data).expect("the rest");
            assert!(matches!(statement, Statement::Insert { .. }), "{cut}");
            assert_eq!(data, b"1\n2\n", "{cut}");
        }
    }
}
