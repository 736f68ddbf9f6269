//! Authentication, and files and functions that no client can reach.

use std::os::unix::fs::PermissionsExt;

use super::escapes::escapes;
use super::open_engine;
use crate::support::engine::{Engine, command};

#[test]
fn the_first_start_makes_a_password_and_only_it_opens() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(folder.path(), &[]);
    let password = engine.password.clone();
    assert!(password.len() >= 32);
    let mode = std::fs::metadata(folder.path().join("password"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(
        engine
            .ask_anonymously("/ping")
            .method("GET")
            .send(b"")
            .text(),
        "Ok.\n"
    );
    let answer = engine.ask_anonymously("/").send(b"SELECT 1");
    assert_eq!((answer.status, answer.code()), (401, Some("516")));
    // A browser must not ask for the password, and then send it for every page.
    assert!(answer.header("www-authenticate").is_none());
    let wrong = engine
        .ask_anonymously("/")
        .header("X-ClickHouse-User", "default")
        .header("X-ClickHouse-Key", "wrong");
    let answer = wrong.send(b"SELECT 1");
    assert_eq!((answer.status, answer.code()), (403, Some("516")));
    assert!(!answer.text().contains("wrong"));

    let basic = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("default:{password}"),
    );
    let ways = [
        engine
            .ask_anonymously("/")
            .header("X-ClickHouse-User", "default")
            .header("X-ClickHouse-Key", &password),
        engine
            .ask_anonymously("/")
            .header("Authorization", &format!("Basic {basic}")),
        engine.ask_anonymously(&format!("/?user=default&password={password}")),
    ];
    for way in ways {
        assert_eq!(way.send(b"SELECT 1").text(), "1\n");
    }
    assert!(engine.stop().success());
    // The next start keeps it.
    assert_eq!(Engine::start(folder.path(), &[]).password, password);
}

#[test]
fn a_user_and_a_password_of_ones_own_are_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    crate::support::write_secret(&file, "own secret\n");
    let data = folder.path().join("data");
    let engine = Engine::start(
        &data,
        &[
            "--user",
            "me",
            "--password-file",
            file.to_str().expect("text"),
        ],
    );
    let ask = |user: &str, key: &str| {
        engine
            .ask_anonymously("/")
            .header("X-ClickHouse-User", user)
            .header("X-ClickHouse-Key", key)
            .send(b"SELECT 1")
            .status
    };
    assert_eq!(
        (
            ask("me", "own secret"),
            ask("default", "own secret"),
            ask("me", "own")
        ),
        (200, 403, 403)
    );
    assert!(!data.join("password").exists());
}

#[test]
fn without_authentication_it_listens_on_loopback_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command(folder.path(), &["--no-auth"]);
    let args: Vec<_> = command
        .get_args()
        .map(|a| {
            if a == "127.0.0.1:0" {
                "0.0.0.0:0".into()
            } else {
                a.to_owned()
            }
        })
        .collect();
    command = std::process::Command::new(command.get_program());
    let output = command.args(args).output().expect("it runs");
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn pages_of_foreign_origin_are_refused() {
    let (_folder, engine) = open_engine();
    let foreign = engine
        .ask("/")
        .host("rebound.example:8123")
        .send(b"SELECT 1");
    assert_eq!(foreign.status, 403);
    assert_eq!(
        engine
            .ask("/ping")
            .method("GET")
            .host("rebound.example")
            .send(b"")
            .status,
        403
    );
    let foreign = engine
        .ask("/")
        .header("Origin", "https://page.example")
        .send(b"SELECT 1");
    assert_eq!(foreign.status, 403);
    // An image's request has no Origin.
    for (site, status) in [("cross-site", 403), ("same-origin", 200), ("none", 200)] {
        let answer = engine
            .ask("/?query=SELECT%201")
            .method("GET")
            .header("Sec-Fetch-Site", site)
            .send(b"");
        assert_eq!(answer.status, status, "{site}");
    }
    assert_eq!(
        engine
            .ask("/")
            .host("localhost")
            .header("Origin", "http://127.0.0.1:3000")
            .send(b"SELECT 1")
            .status,
        200
    );
}

#[test]
fn a_configured_host_name_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = [
        "--no-auth",
        "--allow-host",
        "hot-clickhouse",
        "--allow-host",
        "other",
    ];
    let engine = Engine::start(folder.path(), &options);
    let status = |host: &str| engine.ask("/").host(host).send(b"SELECT 1").status;
    assert_eq!(status("hot-clickhouse:8123"), 200);
    assert_eq!(status("Other"), 200);
    assert_eq!(status("cold-clickhouse:8123"), 403);
}

#[test]
fn no_statement_gets_at_files_programs_or_the_process() {
    let (folder, engine) = open_engine();
    let outside = folder.path().join("outside");
    std::fs::write(&outside, "secret\n").expect("a file");
    let outside_path = outside.as_path();
    let outside = outside.to_str().expect("text");
    for sql in escapes(outside_path) {
        let answer = engine.ask("/").send(sql.as_bytes());
        assert_ne!(answer.status, 200, "{sql}: {}", answer.text());
        assert!(
            !answer.text().contains("secret"),
            "{sql}: {}",
            answer.text()
        );
    }
    assert_eq!(
        engine
            .ask("/?format_template_row=/etc/hostname")
            .send(b"SELECT 1")
            .code(),
        Some("497")
    );
    for (path, sql) in [
        (
            "/?param_f=file".to_owned(),
            format!("SELECT arrayMap({{f:Identifier}}, ['{outside}'])"),
        ),
        (
            format!("/?param_p={outside}"),
            "SELECT * FROM {p:Identifier}".to_owned(),
        ),
        (
            format!("/?param_p={outside}"),
            "SELECT * FROM file({p:String}, 'CSV')".to_owned(),
        ),
        (
            "/?default_format=Null%3B%20SELECT%201".to_owned(),
            "SELECT 1".to_owned(),
        ),
        (
            "/?input_format_values_interpret_expressions=1".to_owned(),
            "SELECT 1".to_owned(),
        ),
        (
            "/?session_id=s".to_owned(),
            "SET param_f = 'file'".to_owned(),
        ),
        (
            "/?session_id=s".to_owned(),
            format!("SELECT arrayMap({{f:Identifier}}, ['{outside}'])"),
        ),
    ] {
        let answer = engine.ask(&path).send(sql.as_bytes());
        assert_ne!(answer.status, 200, "{path} {sql}: {}", answer.text());
        assert!(
            !answer.text().contains("secret"),
            "{path} {sql}: {}",
            answer.text()
        );
    }
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|n| n == "outside.new" || n == "outside.backup"),
        "{names:?}"
    );
    assert_eq!(engine.sql("SELECT 1"), "1\n");
}

#[test]
fn an_error_repeats_no_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(folder.path(), &[]);
    let password = engine.password.clone();
    for sql in [
        format!(
            "SELECT * FROM url('http://{}/{password}?x=1', 'CSV', 'x String')",
            engine.address
        ),
        format!("SELECT * FROM nowhere WHERE x = '{password}'"),
        format!(
            "SELECT * FROM url('http://{}/?query=SELEC&password=somebodys', 'CSV', 'x String')",
            engine.address
        ),
    ] {
        let answer = engine.ask("/?http_max_tries=1").send(sql.as_bytes());
        assert_ne!(answer.status, 200);
        assert!(
            !answer.text().contains(&password) && !answer.text().contains("somebodys"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn url_is_there_and_finds_the_engine_itself() {
    let (_folder, engine) = open_engine();
    let address = engine.address;
    let sql = format!(
        "SELECT sum(x) FROM url('http://{address}/?query=SELECT%20number%20FROM%20numbers(10)', 'TSV', 'x UInt64')"
    );
    assert_eq!(engine.sql(&sql), "45\n");
}

#[test]
fn get_only_reads() {
    let (_folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x");
    let get = |sql: &str| {
        let sql = sql.replace(' ', "%20").replace('\'', "%27");
        engine
            .ask(&format!("/?query={sql}"))
            .method("GET")
            .send(b"")
    };
    for sql in [
        "SELECT 1",
        "WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "DESCRIBE t",
        "EXISTS t",
    ] {
        let answer = get(sql);
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    }
    for sql in [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t SELECT 1",
        "INSERT INTO FUNCTION file('x.csv', 'CSV', 'x UInt8') SELECT 1",
        "DROP TABLE t",
        "KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES",
        "SET max_threads = 1",
        "TRUNCATE TABLE t",
        "CREATE TABLE u (x UInt8) ENGINE = Memory",
    ] {
        let answer = get(sql);
        assert_eq!(answer.code(), Some("164"), "{sql}: {}", answer.text());
    }
    assert_eq!(engine.sql("SELECT count() FROM t"), "0\n");
}

/// Finds the characters that ClickHouse's own lexer passes over, and shows that the policy refuses each of them.
#[test]
fn no_character_that_clickhouse_passes_over_hides_a_guarded_word() {
    let (_folder, engine) = open_engine();
    // Every code point of the first plane beyond ASCII, in UTF-8; the policy's own tests go through all planes.
    let utf8 = "if(number < 0x800, char(0xC0 + intDiv(number, 64), 0x80 + number % 64), \
                char(0xE0 + intDiv(number, 4096), 0x80 + intDiv(number, 64) % 64, 0x80 + number % 64))";
    let mut found = 0;
    for (before, word, formatted) in [
        ("SELECT 1,", "file(2)", "%file(2)%"),
        ("SELECT 1 INTO", "OUTFILE 'a'", "%INTO OUTFILE%"),
        ("SYSTEM", "SHUTDOWN", "%SYSTEM SHUTDOWN%"),
    ] {
        let quoted = word.replace('\'', "\\'");
        let sql = format!(
            "SELECT number FROM numbers(128, 65536 - 128) WHERE number NOT BETWEEN 55296 AND 57343 \
             AND formatQuerySingleLineOrNull(concat('{before}', {utf8}, '{quoted}')) LIKE '{formatted}'"
        );
        for number in engine.sql(&sql).lines() {
            let c = number
                .parse()
                .ok()
                .and_then(char::from_u32)
                .expect("a character");
            let text = format!("{before}{c}{word}");
            let answer = engine.ask("/").send(text.as_bytes());
            assert_eq!(
                answer.code(),
                Some("497"),
                "{c:?} {text}: {}",
                answer.text()
            );
            found += 1;
        }
    }
    assert!(
        found > 20,
        "ClickHouse passes over {found} characters only: is the search still right?"
    );
}
