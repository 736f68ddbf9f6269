//! Starts and ends: what a folder holds outlives them all.

use rustix::process::Signal;

use super::open_engine;
use crate::support::engine::{Answer, Engine, command, until};

#[test]
fn a_folder_is_held_by_one_engine_at_a_time() {
    let (folder, engine) = open_engine();
    let second = command(folder.path(), &["--no-auth"])
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("held by another engine"), "{text}");
    assert!(second.stdout.is_empty());
    assert!(engine.stop().success());
    assert_eq!(
        Engine::start(folder.path(), &["--no-auth"]).sql("SELECT 1"),
        "1\n"
    );
}

#[test]
fn what_was_acknowledged_is_there_after_sigterm_and_after_sigkill() {
    let (folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    engine.sql("INSERT INTO t SELECT number FROM numbers(1000)");
    assert!(engine.stop().success());
    let mut engine = Engine::start(folder.path(), &["--no-auth"]);
    assert_eq!(engine.sql("SELECT count() FROM t"), "1000\n");
    engine.sql("INSERT INTO t SELECT number FROM numbers(1000)");
    engine.signal(Signal::KILL);
    engine.ended();
    let engine = Engine::start(folder.path(), &["--no-auth"]);
    assert_eq!(engine.sql("SELECT count() FROM t"), "2000\n");
}

#[test]
fn a_stop_lets_a_running_request_end() {
    let (_folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    let answer = std::thread::scope(|scope| {
        // Long enough to be seen on a busy machine, and far from the ten seconds that a stop grants.
        let running = scope.spawn(|| {
            engine.ask("/").send(b"SELECT count(), max(sleepEachRow(0.1)) FROM numbers(30) SETTINGS max_block_size = 1")
        });
        until("the query to run", || engine.running() == 1);
        engine.signal(Signal::TERM);
        running.join().expect("an answer")
    });
    assert_eq!(answer.text(), "30\t0\n");
    assert!(engine.stop_after_signal().success());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_folder, mut engine) = open_engine();
    let sql = b"SELECT max(cityHash64(number)) FROM numbers(1000000000000)";
    let mut socket = engine
        .ask("/")
        .open(&format!("Content-Length: {}\r\n", sql.len()));
    std::io::Write::write_all(&mut socket, sql).expect("sends");
    until("the query to run", || engine.running() == 1);
    engine.signal(Signal::TERM);
    // The first one has been accepted when no further one is.
    until("the listener to close", || {
        std::net::TcpStream::connect(engine.address).is_err()
    });
    engine.signal(Signal::INT);
    assert_eq!(engine.ended().code(), Some(130));
}

#[test]
fn a_missing_library_is_named_with_the_command_that_fetches_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = command(folder.path(), &[])
        .env("MPSYNC_LIBCHDB", "/nowhere/libchdb.so")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("/nowhere/libchdb.so") && text.contains("just tools"),
        "{text}"
    );
}

#[test]
fn the_log_holds_no_password_and_no_query_text_by_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = std::fs::File::create(folder.path().join("log")).expect("a file");
    let data = folder.path().join("data");
    let mut child = command(&data, &[]).stderr(log).spawn().expect("it starts");
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().expect("a pipe")),
        &mut line,
    )
    .expect("a line");
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, Signal::TERM).expect("it lives");
    assert!(child.wait().expect("it ends").success());
    let password = std::fs::read_to_string(data.join("password")).expect("a password");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(
        !log.contains(password.trim()) && !line.contains(password.trim()),
        "{log}"
    );
    assert!(log.contains("data/password"), "{log}");
}

/// The only test that loads the library into the tests' own process: it allows one engine there.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_runs_within_the_program_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let open = data.clone();
    let engine = tokio::task::spawn_blocking(move || mpsync_engine::Engine::open(open))
        .await
        .expect("joins")
        .expect("opens");
    let second = mpsync_engine::Engine::open(folder.path().join("second"))
        .err()
        .expect("one a process");
    assert!(
        matches!(second.cause(), mpsync_core::error::Cause::Busy(_)),
        "{second}"
    );

    let auth =
        mpsync_engine::Auth::from_own_file("default", &data.join("password")).expect("a password");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("listens");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(mpsync_engine::serve(
        listener,
        engine,
        auth,
        Vec::new(),
        async {
            let _ = stopped.await;
        },
    ));
    let asked = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).expect("connects");
        std::io::Write::write_all(
            &mut socket,
            b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .expect("sends");
        Answer::read(socket, false).text()
    });
    assert_eq!(asked.await.expect("joins"), "Ok.\n");
    stop.send(()).expect("it listens");
    serving.await.expect("joins").expect("serves");
    // Its folder is free for another process.
    tokio::task::spawn_blocking(move || {
        assert_eq!(Engine::start(&data, &[]).sql("SELECT 1"), "1\n");
    })
    .await
    .expect("joins");
}
