//! Small bodies that become large ones, and requests that never end: memory, disk and time stay bounded.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::open_engine;
use crate::support::engine::Engine;

/// Much of one byte, as zstd makes it small.
fn shrunk(byte: u8, bytes: u64) -> Vec<u8> {
    zstd::stream::encode_all(std::io::repeat(byte).take(bytes), 3).expect("compressed")
}

/// Runs a case; returns the growth of the engine's memory at most and the time it took.
fn cost(engine: &Engine, what: &str, case: impl FnOnce()) -> (u64, Duration) {
    engine.reset_peak();
    let (before, _) = engine.memory();
    let started = Instant::now();
    case();
    let took = started.elapsed();
    let (_, peak) = engine.memory();
    let grown = peak.saturating_sub(before);
    eprintln!("{what}: {} MiB, {:.1} s", grown >> 20, took.as_secs_f64());
    (grown, took)
}

#[test]
fn bodies_that_expand_are_refused_in_little_memory_and_time() {
    let (folder, engine) = open_engine();
    engine.sql("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x");
    let insert = "/?query=INSERT%20INTO%20t%20FORMAT%20RowBinary";

    // A block of 33 KB that says that it has a gigabyte; four at once.
    let data = shrunk(0, 1 << 30);
    let mut block = vec![0; 16];
    block.push(0x90);
    let size = |n: usize| u32::try_from(n).expect("small").to_le_bytes();
    block.extend_from_slice(&size(9 + data.len()));
    block.extend_from_slice(&size(1 << 30));
    block.extend_from_slice(&data);
    let (grown, _) = cost(&engine, "4 blocks of 1 GiB", || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let ask = engine.ask(&format!("{insert}&decompress=1"));
                    assert_ne!(ask.send(&block).status, 200);
                });
            }
        });
    });
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);

    // Blanks before a statement that never comes.
    let (grown, took) = cost(&engine, "a statement of 200 MiB of blanks", || {
        let ask = engine.ask("/").header("Content-Encoding", "zstd");
        let answer = ask.send(&shrunk(b' ', 200 << 20));
        assert_eq!(answer.status, 413, "{}", answer.text());
    });
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);
    assert!(took < Duration::from_secs(20), "{took:?}");

    // An insert of nothing but zeros.
    let (grown, _) = cost(&engine, "an insert of 1 GiB of zeros", || {
        let ask = engine.ask(insert).header("Content-Encoding", "zstd");
        let answer = ask.send(&data);
        assert_eq!(answer.status, 413, "{}", answer.text());
    });
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);
    assert_eq!(engine.sql("SELECT count() FROM t"), "0\n");
    let spooled = std::fs::read_dir(folder.path().join("tmp"));
    assert_eq!(spooled.expect("a folder").count(), 0);
}

#[test]
fn unfinished_heads_take_bounded_memory() {
    let (_folder, engine) = open_engine();
    let head = [
        &b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Long: "[..],
        &vec![b'x'; 200 << 10],
    ]
    .concat();
    let mut open = Vec::new();
    let (grown, _) = cost(&engine, "700 heads of 200 KiB", || {
        for _ in 0..700 {
            let mut socket = TcpStream::connect(engine.address).expect("connects");
            // Beyond the limit the engine closes it at once.
            let _ = socket.write_all(&head);
            open.push(socket);
        }
        std::thread::sleep(Duration::from_secs(1));
    });
    assert!(grown < 2 * (128 << 20), "{} MiB", grown >> 20);
    drop(open);
    let started = Instant::now();
    loop {
        let mut socket = TcpStream::connect(engine.address).expect("connects");
        let mut answer = String::new();
        let asked = socket
            .write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .and_then(|()| socket.read_to_string(&mut answer));
        if asked.is_ok() && answer.ends_with("Ok.\n") {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it does not recover"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
