//! Verifies an archive: every byte, every value. Ends with 1 if it is not what its manifests say.
//!
//! `cargo run --release -p mpsync-archive --example verify -- ARCHIVE`

use std::process::ExitCode;

use mpsync_archive::{ArchiveReader, Depth, Result, Severity};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let path = std::env::args_os().nth(1).expect("usage: verify ARCHIVE");
    let reader = ArchiveReader::open_folder(path).await?;
    let mut is_damaged = false;
    for dataset in reader.datasets().await? {
        for finding in reader.verify(&dataset, None, Depth::Deep).await? {
            println!("{finding}");
            is_damaged |= finding.kind.severity() == Severity::Damage;
        }
    }
    Ok(ExitCode::from(u8::from(is_damaged)))
}
