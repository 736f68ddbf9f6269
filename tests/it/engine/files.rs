//! `file()`: within the engine's own folder, and what else it may read.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::open_engine;
use crate::support::engine::{Engine, until};

/// Puts a file below `folder`, with the folders on the way.
fn put(folder: &Path, path: &str, text: &str) -> PathBuf {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    std::fs::write(&path, text).expect("a file");
    path
}

fn code(engine: &Engine, sql: &str) -> String {
    let answer = engine.ask("/").send(sql.as_bytes());
    assert_ne!(answer.status, 200, "{sql}: {}", answer.text());
    let text = answer.text();
    assert!(
        !text.contains("/_files/") && !text.contains("http:"),
        "{sql}: {text}"
    );
    answer.code().expect("a code").to_owned()
}

#[test]
fn files_are_written_to_and_read_from_the_own_folder() {
    let (folder, engine) = open_engine();
    let rows = "SELECT number AS n, toString(number) AS s, toDecimal64(number, 4) / 3 AS d FROM numbers(300000)";
    for name in [
        "a.parquet",
        "deep/er/b.parquet",
        "deep/er/c.csv.gz",
        "d.native",
    ] {
        engine.sql(&format!(
            "INSERT INTO FUNCTION file('{name}', 'auto', 'n UInt64, s String, d Decimal(18, 4)') {rows}"
        ));
        assert!(
            folder.path().join("user_files").join(name).is_file(),
            "{name}"
        );
        let sums = format!(
            "SELECT count(), sum(n), sum(d) FROM file('{name}', 'auto', 'n UInt64, s String, d Decimal(18, 4)')"
        );
        let expected = engine.sql(&format!("SELECT count(), sum(n), sum(d) FROM ({rows})"));
        assert_eq!(engine.sql(&sums), expected, "{name}");
    }
    // The schema from the file, a range of it, every kind of statement that reads.
    assert_eq!(
        engine.sql("SELECT s FROM file('a.parquet') WHERE n = 299999"),
        "299999\n"
    );
    assert!(
        engine
            .sql("DESCRIBE TABLE file('a.parquet')")
            .starts_with("n\t")
    );
    engine.sql("CREATE TABLE t ENGINE = MergeTree ORDER BY n AS SELECT n FROM file('deep/**/b.parquet') SETTINGS schema_inference_make_columns_nullable = 0");
    engine.sql("INSERT INTO t SELECT n FROM file('a.parquet')");
    let joined =
        "SELECT count() FROM file('a.parquet') AS a JOIN file('deep/er/b.parquet') AS b USING (n)";
    assert_eq!(
        engine.sql(joined),
        "300000
"
    );
    assert_eq!(engine.sql("SELECT count() FROM t"), "600000\n");
    assert_eq!(
        engine.sql("SELECT count() FROM file('{a,deep/er/b}.parquet')"),
        "600000\n"
    );
    engine.sql("INSERT INTO FUNCTION file('values.csv', 'CSV', 'x UInt8') VALUES (1), (2)");
    let own = folder
        .path()
        .canonicalize()
        .expect("a folder")
        .join("user_files");
    assert_eq!(
        std::fs::read_to_string(own.join("values.csv")).expect("a file"),
        "1\n2\n"
    );
    let by_whole_path = format!(
        "SELECT sum(x) FROM file('{}/values.csv', 'CSV', 'x UInt8')",
        own.display()
    );
    assert_eq!(engine.sql(&by_whole_path), "3\n");

    assert_eq!(
        code(
            &engine,
            "INSERT INTO FUNCTION file('values.csv', 'CSV', 'x UInt8') SELECT 1"
        ),
        "504"
    );
    assert_eq!(code(&engine, "SELECT * FROM file('nowhere.csv')"), "107");
    assert_eq!(code(&engine, "SELECT * FROM file('nowhere/*.csv')"), "107");
    put(&own, "bad.csv", "1\nmany\n");
    assert_eq!(
        code(
            &engine,
            "SELECT sum(x) FROM file('bad.csv', 'CSV', 'x UInt8')"
        ),
        "117"
    );
    // What fails in the middle leaves no file, though the engine ends the file properly.
    code(
        &engine,
        "INSERT INTO FUNCTION file('half.csv', 'CSV', 'x UInt64') SELECT throwIf(number = 900000) FROM numbers(1000000)",
    );
    until("what was written to be gone", || {
        let entries = std::fs::read_dir(&own).expect("a folder");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string());
        let names: Vec<_> = names.map(|n| n.expect("text")).collect();
        assert!(!names.contains(&"half.csv".to_owned()), "{names:?}");
        !names.iter().any(|n| n.starts_with('.'))
    });
}

#[test]
fn a_folder_that_it_is_told_is_read_and_never_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a folder");
    let archive = root.join("archive");
    for hour in 0..24 {
        put(
            &archive,
            &format!("trades/date=2026-01-01/hour={hour:02}/gen=0/part.csv"),
            &format!("{hour}\n"),
        );
    }
    let options = ["--no-auth", "--user-files", archive.to_str().expect("text")];
    let engine = Engine::start(&root.join("data"), &options);
    let base = archive.display();
    let all = format!(
        "SELECT count(), sum(x), uniqExact(hour) FROM file('{base}/trades/**/part.csv', 'CSV', 'x UInt8')"
    );
    assert_eq!(engine.sql(&all), "24\t276\t24\n");
    let some = format!(
        "SELECT sum(x) FROM file('{base}/trades/date=2026-01-01/hour={{10..12}}/gen=?/*.csv', 'CSV', 'x UInt8')"
    );
    assert_eq!(engine.sql(&some), "33\n");
    let write = format!("INSERT INTO FUNCTION file('{base}/new.csv', 'CSV', 'x UInt8') SELECT 1");
    assert_eq!(code(&engine, &write), "497");
    assert!(!archive.join("new.csv").exists());
}

#[test]
fn no_spelling_of_file_leads_out_of_the_folder() {
    let (folder, engine) = open_engine();
    let root = folder.path().canonicalize().expect("a folder");
    let outside = put(&root, "outside.csv", "secret\n");
    let own = root.join("user_files");
    put(&own, "in.csv", "1\n");
    symlink(&outside, own.join("link.csv")).expect("a link");
    symlink(&root, own.join("up")).expect("a link");
    let outside = outside.display();
    engine.sql("CREATE TABLE t (x String) ENGINE = Memory");
    for sql in [
        format!("SELECT * FROM file('{outside}', 'CSV', 'x String')"),
        format!("SELECT * FROM /* file( */ `file` -- '\n ( $${outside}$$ , 'CSV', 'x String')"),
        format!("SELECT * FROM \"file\"($x${outside}$x$, 'CSV', 'x String')"),
        "SELECT * FROM file('../outside.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('\\x2e\\x2e/outside.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('up/outside.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('u{p,q}/outside.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('**/outside.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('{in,../outside}.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('{.,}./outside.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('link.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('l?nk.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM FILE('link.csv', 'CSV', 'x String')".to_owned(),
        "SELECT * FROM file('in.csv :: ../outside.csv', 'CSV', 'x String')".to_owned(),
        format!("SELECT * FROM file(concat('{outside}', ''), 'CSV', 'x String')"),
        format!("EXPLAIN SELECT * FROM file('{outside}', 'CSV', 'x String')"),
        format!("WITH c AS (SELECT * FROM file('{outside}', 'CSV', 'x String')) SELECT * FROM c"),
        format!("SELECT (SELECT x FROM file('{outside}', 'CSV', 'x String'))"),
        format!("INSERT INTO t SELECT * FROM file('{outside}', 'CSV', 'x String')"),
        format!(
            "CREATE TABLE c ENGINE = Memory AS SELECT * FROM file('{outside}', 'CSV', 'x String')"
        ),
        format!("CREATE TABLE c AS file('{outside}', 'CSV', 'x String')"),
        format!("CREATE VIEW v AS SELECT * FROM file('{outside}', 'CSV', 'x String')"),
        "CREATE VIEW v AS SELECT * FROM file('in.csv', 'CSV', 'x String')".to_owned(),
        "CREATE VIEW v AS SELECT * FROM file({p:String}, 'CSV', 'x String')".to_owned(),
        "SELECT * FROM loop(file('in.csv', 'CSV', 'x String'))".to_owned(),
        format!("DESCRIBE file('{outside}')"),
        "INSERT INTO FUNCTION file('../new.csv', 'CSV', 'x String') SELECT 'x'".to_owned(),
        "INSERT INTO FUNCTION file('up/new.csv', 'CSV', 'x String') SELECT 'x'".to_owned(),
        format!(
            "INSERT INTO TABLE FUNCTION file('{}/new.csv', 'CSV', 'x String') VALUES ('x')",
            root.display()
        ),
        "SELECT file('in.csv')".to_owned(),
    ] {
        let answer = engine.ask("/").send(sql.as_bytes());
        assert_ne!(answer.status, 200, "{sql}: {}", answer.text());
        assert!(
            !answer.text().contains("secret"),
            "{sql}: {}",
            answer.text()
        );
    }
    assert_eq!(engine.sql("SELECT count() FROM t"), "0\n");
    assert_eq!(engine.sql("SHOW TABLES"), "t\n");
    assert!(!root.join("new.csv").exists());

    // Nobody but a running query is served.
    for path in [
        "/_files/0/user_files/in.csv",
        "/_files//user_files/in.csv",
        "/_files/",
    ] {
        assert_eq!(
            engine.ask(path).method("GET").send(b"").status,
            403,
            "{path}"
        );
        assert_eq!(engine.ask(path).send(b"x").status, 403, "{path}");
    }
}
