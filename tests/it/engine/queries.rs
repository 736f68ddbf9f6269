//! Queries: every way to put one, every way to be answered.

use std::io::Read;

use super::open_engine;
use crate::support::engine::{Answer, Engine, until};

#[test]
fn a_statement_comes_in_the_query_string_in_the_body_or_in_both() {
    let (_folder, engine) = open_engine();
    assert_eq!(
        engine
            .ask("/?query=SELECT%201%2B1")
            .method("GET")
            .send(b"")
            .text(),
        "2\n"
    );
    assert_eq!(engine.ask("/").send(b"SELECT 1 + 1").text(), "2\n");
    assert_eq!(engine.ask("/?query=SELECT%201").send(b"+ 1").text(), "2\n");
    assert_eq!(
        engine
            .ask("/")
            .send(b"/* c */ SELECT 2 -- ; FORMAT JSON\n;")
            .text(),
        "2\n"
    );
    assert_eq!(
        engine
            .ask("/")
            .send(b"SHOW DATABASES LIKE 'default'")
            .text(),
        "default\n"
    );
    assert_eq!(
        engine.ask("/").send(b"SELECT 1; SELECT 2").code(),
        Some("62")
    );
    assert_eq!(engine.ask("/").send(b"").code(), Some("62"));
}

#[test]
fn parameters_come_in_the_query_string_and_in_a_form() {
    let (_folder, engine) = open_engine();
    let sql = b"SELECT {n:UInt32} + 1, {s:String}, {a:Array(UInt8)}";
    assert_eq!(
        engine
            .ask("/?param_n=41&param_s=it%27s&param_a=%5B1%2C2%5D")
            .send(sql)
            .text(),
        "42\tit\\'s\t[1,2]\n"
    );
    let form = "--X\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {s:String}, {n:Nullable(Int8)}\r\n\
                --X\r\nContent-Disposition: form-data; name=\"param_s\"\r\n\r\na;b\r\n\
                --X\r\nContent-Disposition: form-data; name=\"param_n\"\r\n\r\n\\N\r\n--X--\r\n";
    let answer = engine
        .ask("/")
        .header("Content-Type", "multipart/form-data; boundary=X")
        .send(form.as_bytes());
    assert_eq!(answer.text(), "a;b\t\\N\n");
    assert_eq!(
        engine.ask("/").send(b"SELECT {n:UInt8}").code(),
        Some("456")
    );
}

#[test]
fn settings_and_database_are_of_one_request() {
    let (_folder, engine) = open_engine();
    engine.sql("CREATE DATABASE other");
    let asked = engine
        .ask("/?database=other&max_threads=1")
        .send(b"SELECT currentDatabase(), getSetting('max_threads')");
    assert_eq!(asked.text(), "other\t1\n");
    let headed = engine
        .ask("/")
        .header("X-ClickHouse-Database", "other")
        .send(b"SELECT currentDatabase()");
    assert_eq!(headed.text(), "other\n");
    engine.sql("SET max_block_size = 7");
    assert_eq!(
        engine.sql("SELECT currentDatabase(), getSetting('max_block_size') = 7"),
        "default\t0\n"
    );
    let unknown = engine.ask("/?no_such_setting=1").send(b"SELECT 1");
    assert_eq!((unknown.status, unknown.code()), (404, Some("115")));
    let unknown = engine.ask("/?database=nowhere").send(b"SELECT 1");
    assert_eq!((unknown.status, unknown.code()), (404, Some("81")));
}

#[test]
fn the_format_is_the_statements_or_the_requests_or_tab_separated() {
    let (_folder, engine) = open_engine();
    let format = |answer: Answer| {
        (
            answer.header("x-clickhouse-format").map(str::to_owned),
            answer.text(),
        )
    };
    let (name, text) = format(
        engine
            .ask("/?default_format=JSONEachRow")
            .send(b"SELECT 1 AS x"),
    );
    assert_eq!(
        (name.as_deref(), text.as_str()),
        (Some("JSONEachRow"), "{\"x\":1}\n")
    );
    let (name, text) = format(
        engine
            .ask("/?default_format=JSONEachRow")
            .send(b"SELECT 1 AS x FORMAT CSVWithNames"),
    );
    assert_eq!(
        (name.as_deref(), text.as_str()),
        (Some("CSVWithNames"), "\"x\"\n1\n")
    );
    let (name, _) = format(
        engine
            .ask("/")
            .send(b"SELECT 1 SETTINGS max_threads = 1 FORMAT TSV SETTINGS max_block_size = 1"),
    );
    assert_eq!(name.as_deref(), Some("TSV"));
    let (_, text) = format(
        engine
            .ask("/?default_format=JSONEachRow")
            .send(b"SHOW DATABASES LIKE 'default'"),
    );
    assert_eq!(text, "{\"name\":\"default\"}\n");
    assert_eq!(
        engine.ask("/").send(b"SELECT 1 FORMAT Nonsense").code(),
        Some("73")
    );
}

#[test]
fn headers_tell_what_a_client_asks_for() {
    let (_folder, engine) = open_engine();
    let answer = engine
        .ask("/?query_id=mine")
        .send(b"SELECT number FROM numbers(10)");
    assert_eq!(answer.header("x-clickhouse-query-id"), Some("mine"));
    assert!(answer.header("x-clickhouse-timezone").is_some());
    assert!(answer.header("x-clickhouse-server-display-name").is_some());
    let summary = answer.header("x-clickhouse-summary").expect("a summary");
    assert!(
        summary.contains("\"read_rows\":\"10\"") && summary.contains("\"result_rows\":\"10\""),
        "{summary}"
    );
    let answer = engine.ask("/").send(b"SELECT 1");
    assert_eq!(
        answer.header("x-clickhouse-query-id").map(str::len),
        Some(36)
    );
}

#[test]
fn errors_have_the_status_that_a_server_gives_them() {
    let (_folder, engine) = open_engine();
    for (sql, status, code) in [
        ("SELEC 1", 400, "62"),
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT * FROM nowhere.nothing", 404, "81"),
        ("SELECT nothing FROM system.one", 404, "47"),
        ("SELECT no_such_function(1)", 404, "46"),
        ("SELECT toUInt8('x')", 400, "6"),
        ("SELECT throwIf(1)", 500, "395"),
        ("CREATE TABLE t (x Nonsense) ENGINE = Memory", 404, "50"),
    ] {
        let answer = engine.ask("/").send(sql.as_bytes());
        assert_eq!(
            (answer.status, answer.code()),
            (status, Some(code)),
            "{sql}: {}",
            answer.text()
        );
        let text = answer.text();
        assert!(
            text.starts_with(&format!("Code: {code}. DB::Exception: ")),
            "{text}"
        );
        assert!(text.trim_end().ends_with("(embedded build))"), "{text}");
        assert!(
            !text.contains("mpsync:") && !text.contains("OUTFILE '"),
            "{text}"
        );
    }
}

#[test]
fn an_error_in_mid_stream_ends_the_body_with_the_exception_and_breaks_the_connection() {
    let (_folder, engine) = open_engine();
    let sql = b"SELECT throwIf(number = 3000000, 'in the middle') FROM numbers(10000000) SETTINGS max_block_size = 10000, max_threads = 1";
    let answer = engine.ask("/").send(sql);
    assert_eq!((answer.status, answer.whole), (200, false));
    let tag = answer.header("x-clickhouse-exception-tag").expect("a tag");
    let body = answer.text();
    let end = body
        .rfind("\r\n__exception__\r\n")
        .and_then(|last| body[..last].rfind("\r\n__exception__\r\n"));
    let block = &body[end.expect("an exception block")..];
    assert!(
        block.contains("Code: 395. DB::Exception: ") && block.contains("in the middle"),
        "{block}"
    );
    assert!(
        block.ends_with(&format!(" {tag}\r\n__exception__\r\n")),
        "{block}"
    );
    // Asked to wait, the same query is answered with a status.
    let answer = engine.ask("/?wait_end_of_query=1").send(sql);
    assert_eq!(
        (answer.status, answer.code(), answer.whole),
        (500, Some("395"), true)
    );
}

#[test]
fn a_result_that_waits_for_its_end_is_the_same() {
    let (_folder, engine) = open_engine();
    let sql = b"SELECT number, toString(number) FROM numbers(500000)";
    let streamed = engine.ask("/").send(sql);
    let waited = engine.ask("/?wait_end_of_query=1").send(sql);
    assert!(streamed.whole && waited.whole && streamed.body == waited.body);
    assert!(
        waited
            .header("x-clickhouse-summary")
            .expect("a summary")
            .contains("\"result_rows\":\"500000\"")
    );
}

#[test]
fn head_runs_nothing() {
    let (_folder, engine) = open_engine();
    let answer = engine
        .ask("/?query=CREATE%20TABLE%20t%20(x%20Int8)%20ENGINE%20%3D%20Memory")
        .method("HEAD")
        .send(b"");
    assert_eq!(answer.status, 200);
    assert_eq!(engine.sql("EXISTS TABLE t"), "0\n");
}

#[test]
fn get_changes_nothing() {
    let (_folder, engine) = open_engine();
    let answer = engine
        .ask("/?query=CREATE%20TABLE%20t%20(x%20Int8)%20ENGINE%20%3D%20Memory")
        .method("GET")
        .send(b"");
    assert_eq!(answer.code(), Some("164"), "{}", answer.text());
    assert_eq!(
        engine
            .ask("/?query=SELECT%201&max_threads=1")
            .method("GET")
            .send(b"")
            .text(),
        "1\n"
    );
}

#[test]
fn answers_are_compressed_as_the_client_accepts() {
    let (_folder, engine) = open_engine();
    let sql = b"SELECT number FROM numbers(300000)";
    let plain = engine.ask("/").send(sql).body;
    for encoding in ["gzip", "zstd", "lz4", "deflate"] {
        let answer = engine
            .ask("/?enable_http_compression=1")
            .header("Accept-Encoding", encoding)
            .send(sql);
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert!(
            answer.whole && answer.body.len() < plain.len(),
            "{encoding}"
        );
        let mut decoded = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut decoded),
            "deflate" => flate2::read::ZlibDecoder::new(&answer.body[..]).read_to_end(&mut decoded),
            "zstd" => zstd::stream::read::Decoder::new(&answer.body[..])
                .expect("zstd")
                .read_to_end(&mut decoded),
            _ => lz4_flex::frame::FrameDecoder::new(&answer.body[..]).read_to_end(&mut decoded),
        }
        .expect("decodes");
        assert!(decoded == plain, "{encoding}");
    }
    let refused = engine
        .ask("/?enable_http_compression=0")
        .header("Accept-Encoding", "gzip")
        .send(sql);
    assert!(refused.header("content-encoding").is_none() && refused.body == plain);
    // The engine's own block compression, read back by the engine itself.
    let blocks = engine
        .ask("/?compress=1")
        .send(b"SELECT number FROM numbers(300000) FORMAT Native")
        .body;
    engine.sql("CREATE TABLE back (number UInt64) ENGINE = Memory");
    let inserted = engine
        .ask("/?decompress=1&query=INSERT%20INTO%20back%20FORMAT%20Native")
        .send(&blocks);
    assert_eq!(inserted.status, 200, "{}", inserted.text());
    assert_eq!(
        engine.sql("SELECT count(), sum(number) FROM back"),
        "300000\t44999850000\n"
    );
}

#[test]
fn twenty_million_rows_pass_through_in_flat_memory() {
    let (_folder, engine) = open_engine();
    let sql = "SELECT number, toString(number) AS text, number / 3 AS f FROM numbers(20000000) FORMAT ArrowStream";
    // What the engine itself takes for the same query, its result thrown away.
    engine.sql(&sql.replace("ArrowStream", "Null"));
    engine.reset_peak();
    let (before, _) = engine.memory();
    let bytes = drain(&engine, sql);
    let (_, peak) = engine.memory();
    assert!(bytes > 200_000_000, "{bytes} bytes came");
    let grown = peak.saturating_sub(before);
    eprintln!(
        "{bytes} bytes came, resident memory grew by {} MiB at the most, from {} MiB",
        grown >> 20,
        before >> 20
    );
    // Held, it would be all of it.
    assert!(
        grown < bytes / 3 * 2,
        "resident memory grew by {} MiB",
        grown >> 20
    );
}

/// Reads an answer without keeping it.
fn drain(engine: &Engine, sql: &str) -> u64 {
    let mut socket = engine
        .ask("/")
        .open(&format!("Content-Length: {}\r\n", sql.len()));
    std::io::Write::write_all(&mut socket, sql.as_bytes()).expect("sends");
    std::io::copy(&mut socket, &mut std::io::sink()).expect("reads")
}

#[test]
fn a_query_ends_when_its_client_hangs_up() {
    let (_folder, engine) = open_engine();
    for sql in [
        // Before any of its result: an aggregate over more than a client waits for, and a statement that is answered whole.
        "SELECT max(cityHash64(number)) FROM numbers(1000000000000)",
        "CREATE TABLE t ENGINE = Memory AS SELECT max(cityHash64(number)) FROM numbers(1000000000000)",
        // With its result on the way.
        "SELECT number FROM numbers(1000000000000)",
    ] {
        let mut socket = engine
            .ask("/")
            .open(&format!("Content-Length: {}\r\n", sql.len()));
        std::io::Write::write_all(&mut socket, sql.as_bytes()).expect("sends");
        until("the query to run", || engine.running() == 1);
        drop(socket);
        until("the query to end", || engine.running() == 0);
    }
    assert_eq!(engine.sql("SELECT 1"), "1\n");
}

#[test]
fn a_query_is_cancelled_by_the_id_that_its_client_gave_it() {
    let (_folder, engine) = open_engine();
    std::thread::scope(|scope| {
        let query = scope.spawn(|| {
            engine
                .ask("/?query_id=victim")
                .send(b"SELECT max(cityHash64(number)) FROM numbers(1000000000000)")
        });
        until("the query to run", || engine.running() == 1);
        assert_eq!(
            engine.sql("SELECT count() FROM system.processes WHERE query_id = 'victim'"),
            "1\n"
        );
        engine.sql("KILL QUERY WHERE query_id = 'victim' ASYNC");
        let answer = query.join().expect("an answer");
        assert_eq!(
            (answer.status, answer.code()),
            (500, Some("394")),
            "{}",
            answer.text()
        );
    });
}

#[test]
fn many_clients_at_once_get_what_they_asked_for_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(folder.path(), &["--no-auth", "--max-requests", "4"]);
    std::thread::scope(|scope| {
        for client in 0..24u32 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..5 {
                    let path = format!("/?param_c={client}&max_block_size={}", 1000 + client);
                    let sql = "SELECT {c:UInt32}, getSetting('max_block_size'), count() FROM numbers(100000)";
                    let text = engine.ask(&path).send(sql.as_bytes()).text();
                    assert_eq!(text, format!("{client}\t{}\t100000\n", 1000 + client), "round {round}");
                }
            });
        }
    });
}

#[test]
fn a_session_keeps_what_was_set_in_it_and_nothing_that_came_with_a_request() {
    let (_folder, engine) = open_engine();
    let ask = |path: &str, sql: &str| engine.ask(path).send(sql.as_bytes());
    assert_eq!(
        ask("/?session_id=s", "CREATE TEMPORARY TABLE mine (x UInt8)").status,
        200
    );
    assert_eq!(
        ask(
            "/?session_id=s&query=INSERT%20INTO%20mine%20FORMAT%20CSV",
            "7\n"
        )
        .status,
        200
    );
    assert_eq!(ask("/?session_id=s", "SELECT x FROM mine").text(), "7\n");
    assert_eq!(ask("/", "SELECT x FROM mine").code(), Some("60"));
    assert_eq!(ask("/?session_id=s", "SET max_block_size = 77").status, 200);
    let settings =
        "SELECT getSetting('max_block_size'), getSetting('max_threads') = 3, currentDatabase()";
    assert_eq!(
        ask(
            "/?session_id=s&max_threads=3&database=system&max_block_size=78",
            settings
        )
        .text(),
        "78\t1\tsystem\n"
    );
    assert_eq!(ask("/?session_id=s", settings).text(), "77\t0\tdefault\n");
    assert_eq!(
        ask("/?session_id=other&session_check=1", "SELECT 1").code(),
        Some("372")
    );
    assert_eq!(
        ask("/?session_id=s&close_session=1", "SELECT 1").status,
        200
    );
    assert_eq!(
        ask("/?session_id=s&session_check=1", "SELECT 1").code(),
        Some("372")
    );
}

#[test]
fn a_session_in_use_is_refused_to_a_second_client() {
    let (_folder, engine) = open_engine();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            engine
                .ask("/?session_id=s&query_id=first")
                .send(b"SELECT max(cityHash64(number)) FROM numbers(1000000000000)")
        });
        until("the query to run", || engine.running() == 1);
        assert_eq!(
            engine.ask("/?session_id=s").send(b"SELECT 1").code(),
            Some("373")
        );
        engine.sql("KILL QUERY WHERE query_id = 'first' ASYNC");
        assert_eq!(first.join().expect("an answer").code(), Some("394"));
    });
    assert_eq!(engine.ask("/?session_id=s").send(b"SELECT 1").text(), "1\n");
}

#[test]
fn a_query_beyond_the_memory_limit_is_refused_and_the_engine_lives_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(folder.path(), &["--no-auth", "--memory-limit", "1G"]);
    let answer = engine
        .ask("/")
        .send(b"SELECT length(groupArray(toString(number))) FROM numbers(200000000)");
    assert_eq!(answer.code(), Some("241"), "{}", answer.text());
    assert_eq!(engine.sql("SELECT 1"), "1\n");
}
