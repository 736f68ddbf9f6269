//! Statements that try to read or to write a file outside of the engine's folder, to run a program, or to end the process.
//!
//! Each of them, or a variant, once worked, here or in another ClickHouse.

use std::path::Path;

/// Returns the corpus against one file outside; what is written beside it would end in `.new` or `.backup`.
pub(super) fn escapes(outside: &Path) -> Vec<String> {
    let folder = outside.parent().expect("a folder");
    let outside = outside.to_str().expect("text");
    vec![
        format!("SELECT * FROM file('{outside}', 'LineAsString')"),
        format!("SELECT file('{outside}')"),
        format!("SELECT `fi\\x6ce`('{outside}')"),
        format!("SELECT * APPLY file FROM (SELECT '{outside}')"),
        format!("SELECT * FROM `{outside}`"),
        format!("SELECT * FROM '{outside}'"),
        format!("SELECT * FROM url('file://{outside}', 'LineAsString')"),
        format!("SELECT * FROM url(concat('fi', 'le://{outside}'), 'LineAsString', 'x String')"),
        format!("SELECT * FROM view(SELECT * FROM fileCluster('default', '{outside}'))"),
        format!("SELECT * FROM sqlite('{outside}', 't')"),
        format!("SELECT arrayMap(file, ['{outside}'])"),
        format!("SELECT arrayMap((`file`), ['{outside}'])"),
        format!("SELECT arrayMap(`fi\\x6ce`, ['{outside}'])"),
        format!("SELECT arrayMap(x -> file(x), ['{outside}'])"),
        format!("WITH (SELECT file($${outside}$$)) AS x SELECT x"),
        "CREATE FUNCTION leak AS x -> file(x)".to_owned(),
        format!("SELECT * FROM filesystem('{}')", folder.display()),
        format!("SELECT * FROM deltaLakeLocal('{}')", folder.display()),
        format!("SELECT * FROM icebergLocal('{}')", folder.display()),
        format!("ATTACH TABLE a FROM '{}/' (x UInt8) ENGINE = MergeTree ORDER BY x", folder.display()),
        format!("SELECT 1 FROM numbers(1) SETTINGS additional_result_filter = 'throwIf(file(\\'{outside}\\') != \\'\\')'"),
        format!("SELECT 1 FROM numbers(1) SETTINGS additional_table_filters = {{'numbers': 'throwIf(file(\\'{outside}\\') != \\'\\')'}}"),
        format!("SELECT 1 FORMAT `Null; SELECT file('{outside}') INTO OUTFILE '{outside}.new'`"),
        "SET dialect = 'prql'".to_owned(),
        format!("SELECT 1 INTO OUTFILE '{outside}.new'"),
        format!("SELECT 1 INTO OUTFILE '{outside}.new' FORMAT CSV"),
        format!("INSERT INTO FUNCTION file('{outside}.new', 'CSV', 'x UInt8') VALUES (1)"),
        format!("INSERT INTO FUNCTION null('x String') FROM INFILE '{outside}' FORMAT LineAsString"),
        format!("CREATE TABLE f1 (x String) ENGINE = File(CSV, '{outside}')"),
        format!("CREATE TABLE f2 (x String) ENGINE = URL('file://{outside}', 'CSV')"),
        format!("CREATE TABLE f3 (x String) ENGINE = Buffer(default, `{outside}`, 1, 1, 1, 1, 1, 1, 1)"),
        format!("SELECT 1,\u{2003}file('{outside}')"),
        format!("SELECT 1\u{2212}length(file('{outside}'))"),
        format!("SELECT 1 INTO\u{2003}OUTFILE '{outside}.new'"),
        "RESTORE TABLE t FROM S3('http://127.0.0.1:9/bucket/t')".to_owned(),
        format!("SELECT * FROM (SELECT 1 AS x FORMAT Null) SETTINGS format_template_row = '{outside}'"),
        format!("SELECT * FROM (SELECT * FROM format('Template', 'x String', 'a') SETTINGS format_template_row = '{outside}')"),
        format!("SELECT * FROM (SELECT 1 FROM numbers(1) SETTINGS additional_table_filters = {{'numbers': 'throwIf(file(\'{outside}\') != \'\')'}})"),
        format!("SELECT * FROM (SELECT * FROM format('CapnProto', 'x String', 'a') SETTINGS format_schema = '{outside}:X')"),
        format!("CREATE DATABASE f ENGINE = Filesystem('{}')", folder.display()),
        format!("CREATE TABLE f4 (x UInt8) ENGINE = MergeTree ORDER BY x SETTINGS disk = disk(type = local, path = '{outside}/')"),
        format!("BACKUP DATABASE default TO File('{outside}.backup')"),
        format!("SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{outside}'"),
        "SELECT * FROM executable('id', 'LineAsString', 'x String')".to_owned(),
        "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(COMMAND 'id' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)"
            .to_owned(),
        "SELECT * FROM eval('SELECT 1')".to_owned(),
        "SYSTEM SHUTDOWN".to_owned(),
        "SYSTEM KILL".to_owned(),
        "CREATE USER u".to_owned(),
    ]
}
