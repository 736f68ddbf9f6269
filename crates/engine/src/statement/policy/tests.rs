//! The corpus of escapes against the policy alone.

use super::*;

#[test]
fn escapes_from_the_folder_are_refused() {
    for text in [
        "SELECT file ('/etc/passwd')",
        "SELECT 1, file('/etc/passwd')",
        "SELECT $$x$$, file($$/etc/passwd$$)",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "SELECT arrayMap(((file)), ['/etc/passwd'])",
        "SELECT arrayMap(`file` AS f, ['/etc/passwd'])",
        "SELECT arrayMap(\u{201c}file\u{201d}, ['/etc/passwd'])",
        "SELECT 1,\u{2003}file('/etc/hostname')",
        "SELECT 1\u{2212}file('/etc/hostname')",
        "SELECT 1 INTO\u{2003}OUTFILE '/tmp/x'",
        "SELECT 1 INTO\0OUTFILE '/tmp/x'",
        "SELECT 1 -- \0\n",
        "SELECT \u{fc}ber FROM t",
        "CREATE TABLE t (x String) ENGINE = Buffer(default, `/etc/passwd`, 1, 1, 1, 1, 1, 1, 1)",
        "CREATE TABLE t (x String) ENGINE = Buffer(default, x, 1, 1, 1, 1, 1, 1, 1)",
        "CREATE TABLE t (x String) ENGINE = {e:Identifier}",
        "SELECT * FROM `/etc/passwd`",
        "SELECT * FROM default.\"/etc/passwd\"",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM $$/etc/passwd$$",
        "INSERT INTO `/tmp/x` SELECT 1",
        "RESTORE TABLE t FROM S3('http://127.0.0.1:9/x')",
        "restore database d from Disk('d', 'x')",
        "BACKUP TABLE t TO File('/tmp/x')",
        "SELECT 1 PARALLEL WITH RESTORE TABLE t FROM S3('http://127.0.0.1:9/x')",
        "SELECT * FROM (SELECT 1 SETTINGS format_schema = '/etc/passwd:x')",
        "SELECT * FROM (SELECT 1 SETTINGS `format_template_row` = '/etc/passwd')",
        "SELECT * FROM (SELECT 1 SETTINGS FORMAT_TEMPLATE_RESULTSET_FORMAT = 'x')",
        "SELECT * FROM (SELECT 1 SETTINGS additional_table_filters = {'t': 'file(x)'})",
        "SELECT * FROM (SELECT 1 SETTINGS additional_result_filter = 'x')",
        "SET format_schema_source = 'string'",
        "SET dialect = 'prql'",
        "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
        "SELECT arrayMap(`fi\\x6ce`, ['/etc/passwd'])",
        "WITH file AS f SELECT * APPLY f FROM t",
        "SELECT * APPLY ((file)) FROM t",
        "SET param_f = 'file'",
        "SET param_f = 'fi\\x6ce'",
        "SET `param_f` = $$`file`$$",
        "SELECT 1 SETTINGS input_format_values_interpret_expressions = 1",
        "SET `input_format_values_interpret_expressions` = DEFAULT",
        "ATTACH TABLE t FROM '/etc' (x Int8) ENGINE = MergeTree ORDER BY x",
        "ATTACH TABLE t FROM /* x */ $$/etc$$ (x Int8) ENGINE = MergeTree ORDER BY x",
        "SELECT * FROM file(concat('/etc', '/passwd'))",
        "SELECT * FROM file({p:String})",
        "SELECT * FROM file('/etc/pass' || 'wd')",
        "SELECT * FROM file('\\x2fetc')",
        "SELECT * FROM file(stdin, 'CSV')",
        "SELECT * FROM file(0)",
        "SELECT * FROM FILE('a.csv')",
        "SELECT * FROM loop(file('a.csv'))",
        "CREATE VIEW v AS SELECT * FROM file('a.csv')",
        "CREATE MATERIALIZED VIEW v TO t AS SELECT * FROM file('a.csv')",
        "CREATE TABLE t AS file('a.csv')",
        "CREATE FUNCTION f AS x -> (SELECT * FROM file('a.csv'))",
        "ALTER TABLE v MODIFY QUERY SELECT * FROM file('a.csv')",
        "SELECT * FROM fileCluster('default', 'a.csv')",
        "SELECT \"file\"('/etc/passwd')",
        "SELECT `fi\\x6ce`('/etc/passwd')",
        "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
        "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
        "SELECT file/* ( */('/etc/passwd')",
        "SELECT 1 INTO -- x\n OUTFILE '/tmp/x'",
        "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
        "CREATE TABLE t (x Int8) ENGINE = File(CSV, '/etc/passwd')",
        "CREATE DATABASE d ENGINE = Filesystem",
        "CREATE TABLE t (x String) ENGINE URL('file:///etc/passwd', 'CSV')",
        "ATTACH TABLE t (x String) ENGINE = `Executable`('id', 'CSV')",
        "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x SETTINGS disk = disk(type = local, path = '/tmp/')",
        "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(command 'id' format 'TSV')) LAYOUT(FLAT())",
        "SELECT * FROM eval('SELECT 1')",
        "SYSTEM SHUTDOWN",
    ] {
        assert_eq!(
            check(text.as_bytes()).map_err(|e| e.code),
            Err(code::ACCESS_DENIED),
            "{text}"
        );
    }
}

#[test]
fn harmless_lookalikes_are_allowed() {
    for text in [
        "SELECT 'file(''/etc/passwd'')'",
        "SELECT t.file FROM t -- file('x')",
        "SELECT 'gr\u{fc}n', `gr\u{fc}n` /* gr\u{fc}n \u{2003} */ FROM t -- gr\u{fc}n",
        "SELECT '/etc/passwd', x / y FROM t",
        "SELECT t.backup, `restore` FROM system.backups",
        "SYSTEM RESTORE REPLICA t",
        "SELECT name FROM system.settings WHERE name = 'format_schema'",
        "SELECT * FROM file",
        "SET param_x = 'profile'",
        "SELECT * FROM outfile",
        "SELECT * FROM url('http://127.0.0.1/x', 'CSV')",
        "SELECT profile('x')",
        "SELECT engine FROM system.tables WHERE engine = 'File'",
        "CREATE VIEW v AS SELECT engine FROM system.tables ORDER BY engine DESC",
        "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x",
        "CREATE DATABASE d ENGINE Atomic",
    ] {
        assert_eq!(check(text.as_bytes()), Ok(Vec::new()), "{text}");
    }
}

#[test]
fn files_in_the_place_of_a_table_are_found() {
    let found = |text: &str| -> Vec<(String, String, String, bool)> {
        let part = |range: &Range<usize>| text[range.clone()].to_owned();
        let uses = check(text.as_bytes()).expect(text);
        uses.iter()
            .map(|u| (part(&u.name), part(&u.literal), u.path.clone(), u.writes))
            .collect()
    };
    let one = |name: &str, literal: &str, path: &str, writes| {
        vec![(name.to_owned(), literal.to_owned(), path.to_owned(), writes)]
    };
    assert_eq!(
        found("SELECT * FROM /* ' */ `file` -- (\n( $$a b.csv$$ , CSV)"),
        one("`file`", "$$a b.csv$$", "a b.csv", false)
    );
    assert_eq!(
        found("INSERT INTO TABLE FUNCTION file('x.csv', 'CSV', 'x Int8')"),
        one("file", "'x.csv'", "x.csv", true)
    );
    assert_eq!(
        found("EXPLAIN SELECT 1 WHERE 1 IN (SELECT x FROM file('a.csv'))"),
        one("file", "'a.csv'", "a.csv", false)
    );
    let two = "CREATE TABLE t ENGINE = Memory AS SELECT * FROM file('a') AS a JOIN file('b') AS b USING x";
    assert_eq!(found(two).len(), 2);
}

#[test]
fn requests_neither_name_functions_nor_set_the_engines_settings() {
    let request = |settings: &[(&str, &str)], parameters: &[(&str, &str)]| EngineRequest {
        settings: settings
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
        parameters: parameters
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
        ..EngineRequest::default()
    };
    let by_name = b"SELECT arrayMap({f:Identifier}, ['/etc/passwd'])";
    let file = request(&[], &[("f", "`file`")]);
    assert!(check_fields(&file, by_name).is_err());
    assert!(check_fields(&file, b"SELECT {f:String}").is_ok());
    assert!(check_fields(&request(&[], &[("f", "upper")]), by_name).is_ok());
    let slash = request(&[], &[("f", "/etc/passwd")]);
    assert!(check_fields(&slash, by_name).is_err());
    assert!(check_fields(&slash, b"SELECT {f:String}").is_ok());
    for name in SETTINGS.into_iter().chain(["Format_Template_Row"]) {
        let set = request(&[(name, "1")], &[]);
        assert!(check_fields(&set, b"SELECT 1").is_err(), "{name}");
    }
    let database = EngineRequest {
        database: Some("/etc".into()),
        ..EngineRequest::default()
    };
    assert!(check_fields(&database, b"SELECT 1").is_err());
}

#[test]
fn every_character_outside_of_ascii_is_refused_before_every_guarded_word() {
    let guarded = [
        ("SELECT 1,", "file('/etc/hostname')"),
        ("SELECT 1 INTO", "OUTFILE '/tmp/x'"),
        ("CREATE TABLE t (x Int8) ENGINE", "= File(CSV)"),
        ("INSERT INTO t FROM", "INFILE '/etc/passwd' FORMAT CSV"),
        ("SYSTEM", "SHUTDOWN"),
        ("SELECT 1 SETTINGS", "format_schema = 'x'"),
    ];
    for c in ('\u{80}'..=char::MAX).chain(['\0']) {
        for (before, word) in guarded {
            let text = format!("{before}{c}{word}");
            assert!(check(text.as_bytes()).is_err(), "{c:?} {text}");
        }
    }
}

#[test]
fn only_statements_that_read_pass_for_get() {
    for text in [
        "SELECT 1",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "DESCRIBE t",
        "EXISTS TABLE t",
        "EXPLAIN SELECT 1",
    ] {
        assert_eq!(check_reads(text.as_bytes()), Ok(()), "{text}");
    }
    for text in [
        "INSERT INTO t VALUES (1)",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "DROP TABLE t",
        "SET max_threads = 1",
        "USE d",
        "KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES",
        "CREATE TABLE t (x Int8) ENGINE = Memory",
        "OPTIMIZE TABLE t",
        "/* SELECT */ TRUNCATE TABLE t",
        "",
    ] {
        assert_eq!(
            check_reads(text.as_bytes()).map_err(|e| e.code),
            Err(code::READONLY),
            "{text}"
        );
    }
}
