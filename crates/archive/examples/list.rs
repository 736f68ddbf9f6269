//! Lists the datasets, windows and generations of an archive.
//!
//! `cargo run -p mpsync-archive --example list -- ARCHIVE`

use mpsync_archive::{ArchiveReader, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).expect("usage: list ARCHIVE");
    let reader = ArchiveReader::open_folder(path).await?;
    for dataset in reader.datasets().await? {
        for window in reader.windows(&dataset, None).await? {
            for generation in reader.generations(&dataset, window).await? {
                let (rows, bytes) = (generation.fingerprint.rows, generation.bytes());
                println!("{}: {rows} rows, {bytes} bytes", generation.id());
            }
        }
    }
    Ok(())
}
