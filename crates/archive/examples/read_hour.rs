//! Prints the rows of an hour.
//!
//! `cargo run -p mpsync-archive --example read_hour -- ARCHIVE trades 2026-01-01T05`

use mpsync_archive::arrow::util::display::{ArrayFormatter, FormatOptions};
use mpsync_archive::{ArchiveReader, Result, Selection};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, dataset, hour] = arguments.as_slice() else {
        panic!("usage: read_hour ARCHIVE DATASET HOUR");
    };
    let reader = ArchiveReader::open_folder(path).await?;
    let mut rows = reader.read(Selection::new(dataset.parse()?).within(hour.parse()?));
    while let Some(batch) = rows.next_batch().await? {
        let options = FormatOptions::default();
        let columns = batch.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let values: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
            println!("{}", values.join("\t"));
        }
    }
    Ok(())
}
