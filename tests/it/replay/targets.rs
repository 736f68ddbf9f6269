//! Targets that take rows: tables, CSV, Arrow, Parquet.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Archived, parsed, run, succeed};
use crate::support::transfer::output_text;

/// Rows and their hash over all columns.
async fn fingerprint(archived: &Archived, table: &str) -> String {
    let sql = format!(
        "SELECT concat(toString(count()), ' ', toString(sum(cityHash64(tuple(*))))) FROM {table}"
    );
    archived.sql(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_takes_every_row_exactly_once_however_often_it_is_replayed() {
    let archived = Archived::of(20_000).await;
    let into = [
        "replay",
        "--into",
        "clickhouse",
        "--table",
        "{table}_again",
        "--output",
        "json",
    ];
    // A door that a replay left behind when it was killed.
    archived
        .execute("CREATE TABLE first.trades_again_replay_7 (a Int8) ENGINE = Null")
        .await;
    let report = parsed(&succeed(&archived.settings, &into));
    assert_eq!(report["duplicates"], 0, "{report}");
    let again = parsed(&succeed(&archived.settings, &into));
    assert_eq!(again["duplicates"], report["messages"], "{again}");
    for dataset in mpsync_core::dataset::builtin() {
        let first = fingerprint(&archived, &format!("first.{}", dataset.table)).await;
        let second = fingerprint(&archived, &format!("first.{}_again", dataset.table)).await;
        assert_eq!(first, second, "{}", dataset.name);
    }
    let gates = "SELECT toString(count()) FROM system.tables WHERE name LIKE '%\\_replay\\_%'";
    assert_eq!(archived.sql(gates).await, "0");
    // A table that is not made to fit is refused before anything is sent.
    archived
        .execute("CREATE TABLE first.other (timestamp DateTime64(3, 'UTC'), price Decimal(38, 4)) ENGINE = MergeTree ORDER BY timestamp")
        .await;
    let refused = run(
        &archived.settings,
        &[
            "replay",
            "--into",
            "clickhouse",
            "--dataset",
            "trades",
            "--table",
            "other",
        ],
    );
    let text = output_text(&refused);
    assert!(!refused.status.success(), "{text}");
    assert!(
        text.contains("column `price` is Decimal(38, 4), in the archive Decimal(38, 18)"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_rows_hold_every_row_with_every_column_in_order() {
    let archived = Archived::of(20_000).await;
    for dataset in ["trades", "orderbooks"] {
        let rows: u64 = archived
            .sql(&format!("SELECT toString(count()) FROM first.{dataset}"))
            .await
            .parse()
            .unwrap();
        let file = |format: &str| {
            let file = archived.file(&format!("{dataset}.{format}"));
            succeed(
                &archived.settings,
                &[
                    "replay",
                    "--into",
                    format,
                    "--file",
                    &file,
                    "--dataset",
                    dataset,
                ],
            );
            file
        };
        let arrow: Vec<RecordBatch> =
            StreamReader::try_new(std::fs::File::open(file("arrow")).unwrap(), None)
                .unwrap()
                .map(Result::unwrap)
                .collect();
        let parquet: Vec<RecordBatch> =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file("parquet")).unwrap())
                .unwrap()
                .build()
                .unwrap()
                .map(Result::unwrap)
                .collect();
        let joined = |batches: &[RecordBatch]| {
            arrow::compute::concat_batches(batches[0].schema_ref(), batches).unwrap()
        };
        let (arrow, parquet) = (joined(&arrow), joined(&parquet));
        assert_eq!(arrow.num_rows() as u64, rows);
        assert_eq!(arrow.columns(), parquet.columns());
        let columns: u64 = archived
            .sql(&format!(
                "SELECT toString(count()) FROM system.columns WHERE database = 'first' AND table = '{dataset}'"
            ))
            .await
            .parse()
            .unwrap();
        assert_eq!(arrow.num_columns() as u64, columns);
        let csv = std::fs::read_to_string(file("csv")).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len() as u64, rows + 1);
        assert!(lines[0].starts_with("timestamp,exchange,market_type,symbol,"));
        // The engine reads the CSV back to the very rows; it knows no JSON for tuples there.
        if dataset == "orderbooks" {
            assert!(csv.contains("\"[[\"\""), "levels are JSON");
            continue;
        }
        archived
            .execute(&format!(
                "CREATE TABLE first.{dataset}_csv AS first.{dataset}"
            ))
            .await;
        archived.load_csv(&format!("{dataset}_csv"), &csv).await;
        assert_eq!(
            fingerprint(&archived, &format!("first.{dataset}")).await,
            fingerprint(&archived, &format!("first.{dataset}_csv")).await,
        );
    }
    let refused = run(
        &archived.settings,
        &[
            "replay",
            "--into",
            "csv",
            "--file",
            &archived.file("all.csv"),
        ],
    );
    assert_eq!(refused.status.code(), Some(2), "{}", output_text(&refused));
}
