//! How fast messages become rows, on one core: `just bench decode`, or `just bench decode books`.

mod shared;

use shared::messages::{book, trade};

fn main() {
    if let Err(e) = run() {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn run() -> mpsync_core::error::Result<()> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let trades: Vec<_> = (0..1000).map(trade).collect();
    if !wanted.contains("books") {
        measure("trades", "trades", &trades)?;
    }
    for depth in [20, 200] {
        let books: Vec<_> = (0..200).map(|i| book(i, depth)).collect();
        if !wanted.contains("trades") {
            let what = format!("books, {depth} levels a side");
            measure(&what, "orderbooks", &books)?;
        }
    }
    Ok(())
}

fn measure(what: &str, dataset: &str, messages: &[String]) -> mpsync_core::error::Result<()> {
    let rows = shared::decode::measure(dataset, messages)?;
    let bytes: usize = messages.iter().map(String::len).sum();
    let bytes = bytes / messages.len();
    #[expect(clippy::cast_precision_loss, reason = "a message is small")]
    let megabytes = rows * bytes as f64 / 1e6;
    println!("{what}: {bytes} bytes a message, {rows:.0} rows/s, {megabytes:.0} MB/s");
    Ok(())
}
