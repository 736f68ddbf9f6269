//! Writes the rows of a dataset as an Arrow IPC stream, which pyarrow, Polars and DuckDB read.
//!
//! `cargo run --release -p mpsync-archive --example export -- ARCHIVE trades rows.arrows`

use std::fs::File;

use mpsync_archive::arrow::ipc::writer::StreamWriter;
use mpsync_archive::{ArchiveReader, Error, Result, Selection};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, dataset, target] = arguments.as_slice() else {
        panic!("usage: export ARCHIVE DATASET TARGET");
    };
    let reader = ArchiveReader::open_folder(path).await?;
    let mut rows = reader.read(Selection::new(dataset.parse()?));
    let Some(first) = rows.next_batch().await? else {
        return Err(Error::usage(format!("{path} has no rows of {dataset}")));
    };
    let mut writer = StreamWriter::try_new(File::create_new(target)?, &first.schema())?;
    writer.write(&first)?;
    while let Some(batch) = rows.next_batch().await? {
        if batch.schema() != first.schema() {
            let text = "the schema changes within the selection: export the windows before and after by themselves";
            return Err(Error::schema(text));
        }
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(())
}
