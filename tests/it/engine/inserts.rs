//! Inserts: every format, every framing, and bodies that break off.

use std::io::Write;
use std::net::TcpStream;

use super::open_engine;
use crate::support::engine::{Answer, Engine, chunk, until};

const COLUMNS: &str = "id UInt64, price Decimal(38, 18), symbol LowCardinality(String), at DateTime64(3, 'UTC'), \
                       note Nullable(String), levels Array(Tuple(Decimal(18, 8), Decimal(18, 8)))";
const ROWS: &str = "SELECT number, toDecimal128(number, 18) / 7, 'S' || toString(number % 5), \
                    toDateTime64('2026-01-01 00:00:00.123', 3, 'UTC') + number, if(number % 3 = 0, NULL, toString(number)), \
                    [(toDecimal64(number, 8), toDecimal64(1, 8))] FROM numbers(20000)";

fn count(engine: &Engine, table: &str) -> String {
    engine
        .sql(&format!("SELECT count() FROM {table}"))
        .trim()
        .to_owned()
}

#[test]
fn every_format_that_is_written_can_be_read_back() {
    let (_folder, engine) = open_engine();
    engine.sql(&format!(
        "CREATE TABLE t ({COLUMNS}) ENGINE = MergeTree ORDER BY id"
    ));
    engine.sql(&format!("INSERT INTO t {ROWS}"));
    let fingerprint = "SELECT count(), sum(cityHash64(tuple(*))) FROM";
    let expected = engine.sql(&format!("{fingerprint} t"));
    assert!(expected.starts_with("20000\t"));
    for format in [
        "ArrowStream",
        "Arrow",
        "Parquet",
        "Native",
        "RowBinary",
        "RowBinaryWithNamesAndTypes",
        "JSONEachRow",
        "CSV",
        "TSV",
        "Values",
    ] {
        let body = engine
            .ask("/")
            .send(format!("SELECT * FROM t FORMAT {format}").as_bytes());
        assert!(
            body.status == 200 && body.whole,
            "{format}: {}",
            body.text()
        );
        engine.sql(&format!("CREATE TABLE t_{format} AS t"));
        let path = format!("/?query=INSERT%20INTO%20t_{format}%20FORMAT%20{format}");
        let inserted = engine.ask(&path).send(&body.body);
        assert_eq!(inserted.status, 200, "{format}: {}", inserted.text());
        let summary = inserted.header("x-clickhouse-summary").expect("a summary");
        assert!(
            summary.contains("\"written_rows\":\"20000\""),
            "{format}: {summary}"
        );
        assert_eq!(
            engine.sql(&format!("{fingerprint} t_{format}")),
            expected,
            "{format}"
        );
    }
}

#[test]
fn data_comes_behind_the_statement_in_the_body_too() {
    let (_folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt32, s String) ENGINE = MergeTree ORDER BY x");
    engine.sql("INSERT INTO t VALUES (1, 'a;b'), (2, 'FORMAT CSV')");
    engine.sql("INSERT INTO t (s, x) FORMAT JSONEachRow {\"x\": 3, \"s\": \"c\"}");
    engine.sql("INSERT INTO t FORMAT CSV\n4,d\n5,e\n");
    engine.sql("INSERT INTO t SETTINGS async_insert = 0 FORMAT TSV\n6\tf\n");
    engine.sql("INSERT INTO t SELECT x + 10, s FROM t");
    assert_eq!(
        engine
            .ask("/?query=INSERT%20INTO%20t%20VALUES")
            .send(b"(7, 'g')")
            .status,
        200
    );
    assert_eq!(
        engine
            .ask("/?query=INSERT%20INTO%20t%20VALUES%20(8,'h')&async_insert=1")
            .send(b"")
            .status,
        200
    );
    assert_eq!(engine.sql("SELECT count(), sum(x) FROM t"), "14\t117\n");
}

#[test]
fn a_chunked_body_is_streamed_and_what_breaks_off_leaves_nothing() {
    let (_folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    let open = || {
        engine
            .ask("/?query=INSERT%20INTO%20t%20FORMAT%20TSV")
            .open("Transfer-Encoding: chunked\r\n")
    };
    let rows: Vec<u8> = (0..10_000)
        .flat_map(|n: u32| format!("{n}\n").into_bytes())
        .collect();

    let mut socket = open();
    for part in rows.chunks(7001) {
        socket.write_all(&chunk(part)).expect("sends");
    }
    socket.write_all(&chunk(b"")).expect("sends");
    assert_eq!(Answer::read(socket, false).status, 200);
    assert_eq!(count(&engine, "t"), "10000");

    // The client goes: half-way in a chunk, and between two.
    for ending in [&b"ff\r\nhalf"[..], b""] {
        let mut socket = open();
        socket.write_all(&chunk(&rows)).expect("sends");
        socket.write_all(ending).expect("sends");
        hang_up(socket);
        until("the engine to be done with it", || engine.running() == 0);
        assert_eq!(count(&engine, "t"), "10000");
    }

    // A body that is shorter than its length says.
    let mut socket = engine
        .ask("/?query=INSERT%20INTO%20t%20FORMAT%20TSV")
        .open(&format!("Content-Length: {}\r\n", rows.len() + 10));
    socket.write_all(&rows).expect("sends");
    hang_up(socket);
    assert_eq!(count(&engine, "t"), "10000");
}

/// Ends what this side says in mid-body, and waits until the engine has had its say about it.
fn hang_up(mut socket: TcpStream) {
    socket
        .shutdown(std::net::Shutdown::Write)
        .expect("shuts down");
    // An answer or a broken connection: either way it is done with the body.
    let _ = std::io::copy(&mut socket, &mut std::io::sink());
}

#[test]
fn three_million_rows_that_break_off_leave_nothing_in_flat_memory() {
    let (folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt64, s String) ENGINE = MergeTree ORDER BY x");
    let sql = b"SELECT number, toString(cityHash64(number)) FROM numbers(3000000) FORMAT RowBinary";
    let plain = engine.ask("/").send(sql).body;
    assert!(
        plain.len() > 64 << 20,
        "it is larger than what is held in memory"
    );
    let leftovers = || {
        std::fs::read_dir(folder.path().join("tmp"))
            .expect("a folder")
            .count()
    };
    let settled = |what: &str| {
        until(&format!("{what}: the engine to be done with it"), || {
            leftovers() == 0 && engine.running() == 0
        });
        assert_eq!(count(&engine, "t"), "0", "{what}");
    };
    let insert = "/?query=INSERT%20INTO%20t%20FORMAT%20RowBinary";
    // What the engine itself takes for such an insert.
    assert_eq!(engine.ask(insert).send(&plain).status, 200);
    engine.sql("TRUNCATE TABLE t");
    engine.reset_peak();
    let (before, _) = engine.memory();
    for encoding in ["", "gzip", "zstd"] {
        let body = match encoding {
            "" => plain.clone(),
            _ => {
                engine
                    .ask("/?enable_http_compression=1")
                    .header("Accept-Encoding", encoding)
                    .send(sql)
                    .body
            }
        };
        let ask = || match encoding {
            "" => engine.ask(insert),
            _ => engine.ask(insert).header("Content-Encoding", encoding),
        };
        let most = &body[..body.len() - body.len() / 20];
        let mut socket = ask().open("Transfer-Encoding: chunked\r\n");
        socket.write_all(&chunk(most)).expect("sends");
        hang_up(socket);
        settled(&format!("{encoding}, chunked"));

        let mut socket = ask().open(&format!("Content-Length: {}\r\n", body.len()));
        socket.write_all(most).expect("sends");
        hang_up(socket);
        settled(&format!("{encoding}, by length"));
        if !encoding.is_empty() {
            // Its framing ends properly, and what it frames does not.
            let answer = ask().send(most);
            assert_ne!(answer.status, 200, "{encoding}");
            settled(&format!("{encoding}, whole"));
        }
    }
    let (_, peak) = engine.memory();
    let grown = peak.saturating_sub(before);
    eprintln!("resident memory grew by {} MiB at the most", grown >> 20);
    assert!(
        grown < 128 << 20,
        "resident memory grew by {} MiB",
        grown >> 20
    );

    assert_eq!(engine.ask(insert).send(&plain).status, 200);
    assert_eq!(
        (count(&engine, "t"), leftovers()),
        ("3000000".to_owned(), 0)
    );
}

#[test]
fn fields_of_values_are_never_expressions() {
    let (folder, engine) = open_engine();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hidden").expect("a file");
    let secret = secret.to_str().expect("text");
    engine.sql("CREATE TABLE t (s String, n Nullable(UInt8)) ENGINE = MergeTree ORDER BY s");
    engine.sql("CREATE TABLE d (d Dynamic) ENGINE = MergeTree ORDER BY tuple()");
    engine.sql("INSERT INTO t VALUES ('A', 2), ('bfile', NULL), ('file(', 3)");
    assert_eq!(
        engine.sql("SELECT s, n FROM t ORDER BY s"),
        "A\t2\nbfile\t\\N\nfile(\t3\n"
    );
    // A view that reads the format Values whenever something is inserted.
    let view = format!(
        "CREATE MATERIALIZED VIEW v TO t AS SELECT f.s AS s, f.n AS n FROM d \
         CROSS JOIN format(Values, 's String, n Nullable(UInt8)', $$(file('{secret}'), 1)$$) AS f"
    );
    for sql in [view.as_str(), "INSERT INTO d VALUES (1)"] {
        let answer = engine.ask("/").send(sql.as_bytes());
        assert!(
            !answer.text().contains("hidden"),
            "{sql}: {}",
            answer.text()
        );
    }
    engine.sql("DROP TABLE IF EXISTS v");
    for sql in [
        "INSERT INTO t VALUES (upper('a'), 1 + 1)".to_owned(),
        format!("INSERT INTO t VALUES (file('{secret}'), 1)"),
        format!("INSERT INTO t VALUES ('x', 1), (arrayMap(file, ['{secret}'])[1], 1)"),
        format!("INSERT INTO t FORMAT Values (`file`('{secret}'), 1)"),
        format!("INSERT INTO d VALUES ([--]), (file('{secret}'))"),
        format!(
            "INSERT INTO t SELECT * FROM format(Values, 's String, n Nullable(UInt8)', $$(file('{secret}'), 1)$$)"
        ),
        format!(
            "INSERT INTO t SETTINGS input_format_values_interpret_expressions = 1 VALUES (file('{secret}'), 1)"
        ),
    ] {
        let answer = engine.ask("/").send(sql.as_bytes());
        assert_ne!(answer.status, 200, "{sql}: {}", answer.text());
        assert!(
            !answer.text().contains("hidden"),
            "{sql}: {}",
            answer.text()
        );
    }
    assert_eq!(count(&engine, "t"), "3");
    assert_eq!(engine.sql("SELECT countIf(s = 'hidden') FROM t"), "0\n");
}

#[test]
fn compressed_bodies_are_read_and_cut_ones_leave_nothing() {
    let (_folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    let sql = b"SELECT cityHash64(number) FROM numbers(50000) FORMAT RowBinary";
    let mut expected = 0;
    for encoding in ["gzip", "zstd", "lz4", "deflate"] {
        let body = engine
            .ask("/?enable_http_compression=1")
            .header("Accept-Encoding", encoding)
            .send(sql)
            .body;
        let insert = |body: &[u8]| {
            engine
                .ask("/?query=INSERT%20INTO%20t%20FORMAT%20RowBinary")
                .header("Content-Encoding", encoding)
                .send(body)
        };
        for cut in [body.len() - 1, body.len() / 2, 10] {
            let answer = insert(&body[..cut]);
            assert_ne!(answer.status, 200, "{encoding} cut at {cut}");
            assert_eq!(
                count(&engine, "t"),
                expected.to_string(),
                "{encoding} cut at {cut}"
            );
        }
        assert_eq!(insert(&body).status, 200, "{encoding}");
        expected += 50_000;
        assert_eq!(count(&engine, "t"), expected.to_string(), "{encoding}");
    }
    let mut blocks = engine.ask("/?compress=1").send(sql).body;
    let insert = |body: &[u8]| {
        engine
            .ask("/?decompress=1&query=INSERT%20INTO%20t%20FORMAT%20RowBinary")
            .send(body)
    };
    assert_eq!(insert(&blocks).status, 200);
    assert_ne!(insert(&blocks[..blocks.len() - 1]).status, 200);
    let middle = blocks.len() / 2;
    blocks[middle] ^= 1;
    assert_ne!(insert(&blocks).status, 200);
    assert_eq!(count(&engine, "t"), (expected + 50_000).to_string());
}

#[test]
fn a_refused_insert_is_answered_though_its_client_is_still_sending() {
    let (_folder, engine) = open_engine();
    let body = vec![b'1'; 8 << 20];
    let answer = engine
        .ask("/?query=INSERT%20INTO%20nowhere%20FORMAT%20TSV")
        .send(&body);
    assert_eq!(
        (answer.status, answer.code()),
        (404, Some("60")),
        "{}",
        answer.text()
    );
    engine.sql("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x");
    let answer = engine
        .ask("/?query=INSERT%20INTO%20t%20FORMAT%20TSV")
        .send(b"1\nmany\n3\n");
    assert_eq!(
        (answer.status, answer.code()),
        (400, Some("27")),
        "{}",
        answer.text()
    );
    assert_eq!(count(&engine, "t"), "0");
}

#[test]
fn an_insert_holds_its_client_back_when_the_engine_is_behind() {
    const CHUNKS: u64 = 80;
    let (_folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    engine.reset_peak();
    let (before, _) = engine.memory();
    let mut socket = engine
        .ask("/?query=INSERT%20INTO%20t%20FORMAT%20RowBinary")
        .open("Transfer-Encoding: chunked\r\n");
    let rows: Vec<u8> = (0..1_000_000u64).flat_map(u64::to_le_bytes).collect();
    let framed = chunk(&rows);
    for _ in 0..CHUNKS {
        socket.write_all(&framed).expect("sends");
    }
    socket.write_all(&chunk(b"")).expect("sends");
    assert_eq!(Answer::read(socket, false).status, 200);
    let (_, peak) = engine.memory();
    assert_eq!(count(&engine, "t"), (CHUNKS * 1_000_000).to_string());
    let (sent, grown) = (CHUNKS * rows.len() as u64, peak.saturating_sub(before));
    let told = format!(
        "{} MiB inserted, resident memory grew by {} MiB at the most",
        sent >> 20,
        grown >> 20
    );
    eprintln!("{told}");
    // Held, it would be all of it, beside what the engine itself takes.
    assert!(grown < sent / 3 * 2, "{told}");
}
