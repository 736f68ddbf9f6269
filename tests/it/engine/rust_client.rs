//! The official Rust client, which the rest of the program speaks through.

use clickhouse::{Client, Compression, Row};
use serde::{Deserialize, Serialize};

use super::open_engine;
use crate::support::engine::Engine;

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Trade {
    id: u64,
    symbol: String,
    price: f64,
    note: Option<String>,
}

fn client(engine: &Engine) -> Client {
    Client::default()
        .with_url(format!("http://{}", engine.address))
        .with_user("default")
        .with_password("unasked")
}

fn trades(count: u64) -> Vec<Trade> {
    let trade = |id| Trade {
        id,
        symbol: format!("S{}", id % 3),
        price: 0.5,
        note: (id % 2 == 0).then(|| id.to_string()),
    };
    (0..count).map(trade).collect()
}

#[tokio::test]
async fn rows_parameters_and_errors_pass_with_every_compression() {
    let (_folder, engine) = open_engine();
    for (table, compression) in [
        ("plain", Compression::None),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::zstd()),
    ] {
        let client = client(&engine).with_compression(compression);
        let create = format!(
            "CREATE TABLE {table} (id UInt64, symbol LowCardinality(String), price Float64, note Nullable(String)) \
             ENGINE = MergeTree ORDER BY id"
        );
        client.query(&create).execute().await.expect("creates");
        let mut insert = client.insert::<Trade>(table).await.expect("an insert");
        for trade in trades(20_000) {
            insert.write(&trade).await.expect("writes");
        }
        insert.end().await.expect("ends");

        let sql = format!(
            "SELECT * FROM {table} WHERE symbol = {{symbol:String}} AND id < {{below:UInt64}} ORDER BY id"
        );
        let got = client
            .query(&sql)
            .param("symbol", "S1")
            .param("below", 1000)
            .fetch_all::<Trade>()
            .await
            .expect("rows");
        let expected: Vec<_> = trades(1000)
            .into_iter()
            .filter(|t| t.symbol == "S1")
            .collect();
        assert_eq!(got, expected, "{table}");

        let error = client
            .query("SELECT * FROM nowhere")
            .execute()
            .await
            .expect_err("no such table");
        assert!(
            error.to_string().contains("Code: 60. DB::Exception"),
            "{error}"
        );

        let sql = "SELECT throwIf(number = 3000000, 'in the middle') AS x FROM numbers(10000000) \
                   SETTINGS max_block_size = 10000, max_threads = 1";
        let mut rows = client.query(sql).fetch::<u8>().expect("a cursor");
        let error = loop {
            match rows.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended as if it were whole"),
                Err(error) => break error,
            }
        };
        assert!(
            error.to_string().contains("in the middle"),
            "{table}: {error}"
        );
    }
}

#[tokio::test]
async fn an_insert_that_is_dropped_leaves_nothing() {
    let (_folder, engine) = open_engine();
    let client = client(&engine).with_compression(Compression::None);
    client.query("CREATE TABLE t (id UInt64, symbol String, price Float64, note Nullable(String)) ENGINE = MergeTree ORDER BY id")
        .execute()
        .await
        .expect("creates");
    let mut insert = client.insert::<Trade>("t").await.expect("an insert");
    for trade in trades(50_000) {
        insert.write(&trade).await.expect("writes");
    }
    drop(insert);
    tokio::task::spawn_blocking(move || {
        crate::support::engine::until("the insert to end", || engine.running() == 0);
        assert_eq!(engine.sql("SELECT count() FROM t"), "0\n");
    })
    .await
    .expect("checked");
}
