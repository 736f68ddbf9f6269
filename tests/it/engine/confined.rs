//! The kernel's confinement of the engine's process, alone: the statement policy is taken away.

use std::path::Path;
use std::process::{Command, Stdio};

use super::escapes::escapes;
use super::open_engine;
use crate::support::engine::{Engine, command};

/// The folder of the engine that [`serves_without_policy`] opens in a process of its own.
const FOLDER: &str = "MPSYNC_TEST_ENGINE_FOLDER";

/// A confined engine without statement policy. No test, but the process of one: `libchdb` starts once a process.
#[test]
#[ignore = "the process of another test"]
fn serves_without_policy() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let confinement = mpsync_engine::Confinement {
        data_dir: folder.clone().into(),
        readable: Vec::new(),
        port: 0,
    };
    confinement.apply().expect("confined");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let options = mpsync_engine::EngineOptions {
            has_policy: false,
            ..mpsync_engine::EngineOptions::new(folder)
        };
        let engine = mpsync_engine::Engine::open_with(&options).expect("an engine");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!(
            "\nlistening on http://{}",
            listener.local_addr().expect("an address")
        );
        let auth = mpsync_engine::Auth::Open;
        let never = std::future::pending();
        mpsync_engine::serve(listener, engine, auth, Vec::new(), never)
            .await
            .expect("served");
    });
}

fn start_without_policy(folder: &Path) -> Engine {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command
        .args([
            "--exact",
            "engine::confined::serves_without_policy",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped());
    Engine::start_by(command, folder)
}

#[test]
fn confined_engine_without_policy_lets_nothing_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = folder.path().join("outside");
    std::fs::write(&outside, "hidden\n").expect("a file");
    let engine = start_without_policy(&folder.path().join("data"));
    // It works, and moves parts between tables.
    for sql in [
        "CREATE TABLE a (x UInt64, s String) ENGINE = MergeTree PARTITION BY x % 2 ORDER BY x",
        "CREATE TABLE b AS a",
        "INSERT INTO a SELECT number, toString(number) FROM numbers(100000)",
        "ALTER TABLE a MOVE PARTITION ID '1' TO TABLE b",
        "ALTER TABLE a DELETE WHERE x < 10 SETTINGS mutations_sync = 2",
        "OPTIMIZE TABLE a FINAL",
    ] {
        engine.sql(sql);
    }
    assert_eq!(engine.sql("SELECT count() FROM b"), "50000\n");
    assert_eq!(
        engine.sql("SELECT toDateTime('2026-07-01 00:00:00', 'Europe/Berlin') = toDateTime('2026-06-30 22:00:00', 'UTC')"),
        "1\n"
    );
    let path = outside.to_str().expect("text");
    let more = [
        format!("SELECT * FROM file('{path}', 'LineAsString', 's String')"),
        format!("SELECT 1 INTO OUTFILE '{path}.new' TRUNCATE"),
        format!("SELECT 1 INTO OUTFILE '{path}' TRUNCATE"),
        "SELECT * FROM file('/etc/passwd', 'LineAsString', 's String')".to_owned(),
        "SELECT file('/etc/hostname')".to_owned(),
        "SELECT file('/proc/1/environ')".to_owned(),
    ];
    // `SYSTEM` ends the process, not an escape; `RESTORE` asks a host that is not there for a minute.
    let corpus = escapes(&outside);
    let statements = corpus.iter().chain(&more).filter(|sql| {
        !["SYSTEM", "RESTORE"]
            .iter()
            .any(|word| sql.starts_with(word))
    });
    let mut tried = 0;
    for sql in statements {
        let answer = engine.ask("/").send(sql.as_bytes());
        let text = answer.text();
        assert!(
            !text.contains("hidden") && !text.contains("root:"),
            "{sql}: {text}"
        );
        tried += 1;
    }
    // Tables that could be made: neither reading nor writing them leads out.
    for name in engine
        .sql("SELECT name FROM system.tables WHERE name LIKE 'f_'")
        .lines()
    {
        for sql in [
            format!("SELECT * FROM {name}"),
            format!("INSERT INTO {name} SELECT 'overwritten'"),
            format!("OPTIMIZE TABLE {name}"),
            format!("TRUNCATE TABLE {name}"),
        ] {
            let text = engine.ask("/").send(sql.as_bytes()).text();
            assert!(!text.contains("hidden"), "{sql}: {text}");
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
    assert_eq!(
        std::fs::read_to_string(&outside).expect("a file"),
        "hidden\n"
    );
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(engine.sql("SELECT 1"), "1\n");
}

#[test]
fn process_of_the_engine_is_confined_unless_disabled() {
    let state = |pid: i32, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line");
        line.rsplit_once('\t').expect("a value").1.to_owned()
    };
    let (_folder, engine) = open_engine();
    assert_eq!(state(engine.pid(), "NoNewPrivs:"), "1");
    assert_eq!(state(engine.pid(), "Seccomp:"), "2");
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(folder.path(), &["--no-auth", "--unconfined"]);
    assert_eq!(state(engine.pid(), "NoNewPrivs:"), "0");
    assert!(engine.stop().success());
    // As the daemon's child gets it.
    let mut child = command(folder.path(), &["--no-auth"]);
    child.env("MPSYNC_ENGINE_UNCONFINED", "1");
    let engine = Engine::start_by(child, folder.path());
    assert_eq!(state(engine.pid(), "NoNewPrivs:"), "0");
}
