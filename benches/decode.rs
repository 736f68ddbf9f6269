//! How fast messages become rows, on one core: `just bench decode`, or `just bench decode books`.

mod shared;

use shared::messages::{book, trade};

fn main() {
    if let Err(e) = run() {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn run() -> mpsync::error::Result<()> {
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

fn measure(what: &str, dataset: &str, messages: &[String]) -> mpsync::error::Result<()> {
    let speed = shared::decode::measure(dataset, messages)?;
    println!(
        "{what}: {} bytes a message, {:.0} rows/s, {:.0} MB/s",
        messages[0].len(),
        speed.rows,
        speed.bytes / 1e6
    );
    Ok(())
}
