//! `mpsync sync` from hot to verified cold and cleaned hot, against what the engine does alone: `just bench transfer`.
//!
//! It starts an engine of its own on a free port, in a folder that it removes again, fills hot with a day of trades and of
//! order books, and then, one after the other, on the same rows:
//!
//! - (a) the engine's own route, which proves nothing: `INSERT INTO FUNCTION file('x.parquet')` with zstd 3 and
//!   `INSERT INTO cold SELECT * FROM file('x.parquet')`;
//! - (b) `INSERT INTO cold SELECT * FROM url(hot, Native)`, which leaves no archive;
//! - `mpsync sync --cleanup` in hourly windows, as a child process, with the default configuration.
//!
//! Then it syncs four times as many trades, to see whether memory grows with them. `-- trades`, `-- books` or `-- memory` measure
//! one of these alone; `--rows N` and `--books N` change how many trades (10 million) and books (200,000) there are. Before
//! each route the engine's merges of the step before have ended.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const DAY_START_MS: u64 = 1_767_225_600_000;
const HOURS: u64 = 24;
/// A clock tick of `/proc/PID/stat`, which Linux fixes for user space.
const TICKS_A_SECOND: f64 = 100.0;

/// A day of trades in the order of their times, as a collector sees them: 36 markets of which few make most trades, prices on
/// a tick that wander, round and crooked quantities, ids that grow.
const TRADES: &str = "INSERT INTO hot.trades SELECT fromUnixTimestamp64Milli(toInt64(START + ms), 'UTC'), \
    ['binance', 'okx', 'bybit'][1 + s % 3], if(s % 2 = 0, 'spot', 'perpetual'), \
    concat(['BTC', 'ETH', 'SOL', 'XRP', 'DOGE', 'BNB', 'ADA', 'AVAX', 'LINK', 'DOT', 'LTC', 'UNI'][1 + intDiv(s, 3)], '-USDT'), \
    'websocket', toString(4000000000 + 17 * n + h % 16), \
    toDecimal128(toInt64((100 + pow(s, 3)) * (10000 + 150 * sin(n / 400000 + s)) / 10) * 10 + toInt64(intDiv(h, 7) % 21), 18) / 1000, \
    if(h % 3 = 0, toDecimal128(1 + intDiv(h, 3) % 100, 18) / 1000, \
       toDecimal128(1 + toInt64(pow(10, (intDiv(h, 11) % 50000) / 10000)), 18) / 100000), \
    if(intDiv(h, 5) % 2 = 0, 'buy', 'sell'), if(s % 3 = 1, NULL, intDiv(h, 5) % 2 = 1), \
    if(s % 3 = 2, NULL, fromUnixTimestamp64Milli(toInt64(START + ms), 'UTC')), \
    fromUnixTimestamp64Milli(toInt64(START + ms + 15 + intDiv(h, 13) % 40), 'UTC'), \
    fromUnixTimestamp64Nano(toInt64(START * 1000000 + n * intDiv(86400000000000, ROWS) + 60000000 + intDiv(h, 17) % 4000000), 'UTC'), \
    1767000000000000000, n + 1 \
    FROM (SELECT number AS n, cityHash64(number) AS h, \
          toUInt8(floor(36 * pow((intDiv(h, 19) % 1000000) / 1000000, 2))) AS s, intDiv(n * 86400000, ROWS) AS ms \
          FROM numbers(ROWS))";

/// A day of books of 200 levels a side around a price that wanders.
const BOOKS: &str = "INSERT INTO hot.orderbooks SELECT fromUnixTimestamp64Milli(toInt64(START + ms), 'UTC'), \
    ['binance', 'okx'][1 + s % 2], 'perpetual', concat(['BTC', 'ETH', 'SOL', 'XRP'][1 + intDiv(s, 2)], '-USDT'), 'websocket', \
    toInt64(90000000000 + n * 37), \
    arrayMap(i -> (toDecimal128(mid - 1 - i - intDiv(cityHash64(n, i) % 3, 2), 18) / 100, \
                   toDecimal128(1 + toInt64(pow(10, cityHash64(i, n) % 50000 / 10000)), 18) / 1000), range(200)) \
        ::Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) AS b, \
    arrayMap(i -> (toDecimal128(mid + 1 + i + intDiv(cityHash64(i, 7, n) % 3, 2), 18) / 100, \
                   toDecimal128(1 + toInt64(pow(10, cityHash64(i, n, 5) % 50000 / 10000)), 18) / 1000), range(200)) \
        ::Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) AS a, \
    200, 200, b[1].1, b[1].2, a[1].1, a[1].2, \
    fromUnixTimestamp64Milli(toInt64(START + ms + 15 + intDiv(h, 13) % 40), 'UTC'), \
    fromUnixTimestamp64Nano(toInt64(START * 1000000 + n * intDiv(86400000000000, ROWS) + 60000000 + intDiv(h, 17) % 4000000), 'UTC'), \
    1767000000000000000, n + 1 \
    FROM (SELECT number AS n, cityHash64(number) AS h, h % 8 AS s, intDiv(n * 86400000, ROWS) AS ms, \
          toInt64((1 + s) * 1000000 + 20000 * sin(n / 3000 + s)) AS mid FROM numbers(ROWS)) \
    SETTINGS max_block_size = 2048";

fn main() {
    if let Err(e) = run() {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let rows = count(&wanted, "--rows", 10_000_000)?;
    let books = count(&wanted, "--books", 200_000)?;
    let asked = |name: &str| wanted.iter().any(|word| word == name);
    let all = !["trades", "books", "memory"].iter().any(|name| asked(name));
    let bench = Bench::start()?;
    if all || asked("trades") {
        bench.compare("trades", TRADES, rows)?;
    }
    if all || asked("books") {
        bench.compare("orderbooks", BOOKS, books)?;
    }
    if all || asked("memory") {
        bench.memory(rows)?;
    }
    Ok(())
}

/// The number after a name, or after the name and `=`.
fn count(words: &[String], name: &str, usual: u64) -> Result<u64> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix(name) else {
            continue;
        };
        let number = match rest.strip_prefix('=') {
            Some(number) => number,
            None => words.next().map_or("", String::as_str),
        };
        return number
            .parse()
            .map_err(|e| format!("{name} {number}: {e}").into());
    }
    Ok(usual)
}

/// An engine with an empty hot and an empty cold, and a configuration that names them.
struct Bench {
    engine: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

impl Bench {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut engine = mpsync()
            .args([
                "engine",
                "--no-auth",
                "--log",
                "warn",
                "--listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(folder.path().join("engine"))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = engine.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let _ = engine.kill();
            return Err(format!("the engine did not start: {line:?}").into());
        };
        let bench = Self {
            address: address.to_owned(),
            engine,
            folder,
        };
        let port = bench.address.rsplit(':').next().unwrap_or_default();
        let mut config = String::new();
        for tier in ["hot", "cold"] {
            writeln!(
                config,
                "{tier}_storage: {{clickhouse_http_port: {port}, clickhouse_database: {tier}}}"
            )?;
        }
        writeln!(config, "archive: {{path: {}}}", bench.archive().display())?;
        std::fs::write(bench.config(), config)?;
        for tier in ["hot", "cold"] {
            let applied = mpsync()
                .arg("--config")
                .arg(bench.config())
                .args(["schema", "apply", "--log", "warn", "--tier", tier])
                .stdout(Stdio::null())
                .status()?;
            if !applied.success() {
                return Err(format!("the tables of {tier} could not be made").into());
            }
        }
        Ok(bench)
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("mpsync.yaml")
    }

    fn archive(&self) -> std::path::PathBuf {
        self.folder.path().join("archive")
    }

    /// Runs a statement; gives its result.
    fn sql(&self, sql: &str) -> Result<String> {
        let mut socket = std::net::TcpStream::connect(&self.address)?;
        let head = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            sql.len()
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(sql.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.split(' ').nth(1) == Some("200") && !body.contains("DB::Exception") {
            return Ok(body.trim().to_owned());
        }
        Err(format!("{sql}: {answer}").into())
    }

    /// Waits until the engine merges nothing, so that no route pays for the one before it.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_mins(2);
        while self.sql("SELECT count() FROM system.merges")? != "0" && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn fill(&self, table: &str, sql: &str, rows: u64) -> Result<String> {
        for tier in ["hot", "cold"] {
            self.sql(&format!("TRUNCATE TABLE {tier}.{table}"))?;
        }
        if self.archive().exists() {
            std::fs::remove_dir_all(self.archive())?;
        }
        let sql = sql.replace("START", &DAY_START_MS.to_string());
        self.sql(&sql.replace("ROWS", &rows.to_string()))?;
        self.settle()?;
        self.state(&format!("hot.{table}"))
    }

    /// How many rows a table has, and the sum of their hashes.
    fn state(&self, table: &str) -> Result<String> {
        self.sql(&format!(
            "SELECT count(), sum(cityHash64(tuple(*))) FROM {table}"
        ))
    }

    /// All three routes over the same rows.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn compare(&self, table: &str, sql: &str, rows: u64) -> Result<()> {
        let state = self.fill(table, sql, rows)?;
        println!("{rows} {table}, {HOURS} hours");
        println!("{HEAD}");
        let engine_alone = self.parquet(table, &state)?;
        engine_alone.print("(a) file(Parquet, zstd 3), proves nothing");
        self.native(table, &state)?
            .print("(b) url(Native), no archive, proves nothing");
        let sync = self.sync(table, &state)?;
        sync.print("mpsync sync, archived, proven, hot cleaned");
        println!(
            "sync / (a): time {:.2}, CPU {:.2}, archive bytes {:.3}\n",
            sync.seconds / engine_alone.seconds,
            (sync.cpu_seconds + sync.engine_cpu_seconds) / engine_alone.engine_cpu_seconds,
            sync.bytes as f64 / engine_alone.bytes as f64,
        );
        Ok(())
    }

    fn scratch(&self, table: &str) -> Result<()> {
        self.sql("DROP TABLE IF EXISTS cold.bench_scratch")?;
        self.sql(&format!("CREATE TABLE cold.bench_scratch AS cold.{table}"))?;
        self.settle()
    }

    fn expect(&self, table: &str, state: &str) -> Result<()> {
        let there = self.state(table)?;
        if there == state {
            return Ok(());
        }
        Err(format!("{table} holds {there}, hot held {state}").into())
    }

    /// Route (a).
    fn parquet(&self, table: &str, state: &str) -> Result<Measured> {
        self.scratch(table)?;
        // The engine writes over no file.
        let file = format!("{table}.parquet");
        let (begun, cpu) = (Instant::now(), cpu_seconds(self.engine.id())?);
        self.sql(&format!(
            "INSERT INTO FUNCTION file('{file}', 'Parquet') SELECT * FROM hot.{table} \
             SETTINGS output_format_parquet_compression_method = 'zstd', output_format_compression_level = 3"
        ))?;
        self.sql(&format!(
            "INSERT INTO cold.bench_scratch SELECT * FROM file('{file}', 'Parquet')"
        ))?;
        let measured = Measured {
            seconds: begun.elapsed().as_secs_f64(),
            engine_cpu_seconds: cpu_seconds(self.engine.id())? - cpu,
            bytes: bytes_of(&self.folder.path().join("engine/user_files"), &file)?,
            ..Measured::default()
        };
        self.expect("cold.bench_scratch", state)?;
        self.sql("DROP TABLE cold.bench_scratch")?;
        std::fs::remove_file(self.folder.path().join("engine/user_files").join(file))?;
        Ok(measured)
    }

    /// Route (b).
    fn native(&self, table: &str, state: &str) -> Result<Measured> {
        self.scratch(table)?;
        let (begun, cpu) = (Instant::now(), cpu_seconds(self.engine.id())?);
        self.sql(&format!(
            "INSERT INTO cold.bench_scratch SELECT * FROM \
             url('http://{}/?query=SELECT+*+FROM+hot.{table}+FORMAT+Native', 'Native')",
            self.address
        ))?;
        let measured = Measured {
            seconds: begun.elapsed().as_secs_f64(),
            engine_cpu_seconds: cpu_seconds(self.engine.id())? - cpu,
            ..Measured::default()
        };
        self.expect("cold.bench_scratch", state)?;
        self.sql("DROP TABLE cold.bench_scratch")?;
        Ok(measured)
    }

    /// The whole road, proven and cleaned.
    fn sync(&self, table: &str, state: &str) -> Result<Measured> {
        self.settle()?;
        let engine = cpu_seconds(self.engine.id())?;
        let begun = Instant::now();
        let mut child = mpsync()
            .arg("--config")
            .arg(self.config())
            .args(["sync", "--cleanup", "--log", "warn", "--dataset", table])
            .stdout(Stdio::null())
            .spawn()?;
        let (cpu, peak_bytes) = watch(child.id());
        let status = child.wait()?;
        let measured = Measured {
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu,
            engine_cpu_seconds: cpu_seconds(self.engine.id())? - engine,
            peak_bytes,
            bytes: bytes_of(&self.archive(), ".parquet")?,
        };
        if !status.success() {
            return Err(format!("mpsync sync ended with {status}").into());
        }
        self.expect(&format!("cold.{table}"), state)?;
        let left = self.sql(&format!("SELECT count() FROM hot.{table}"))?;
        if left != "0" {
            return Err(format!("{left} rows are left in hot").into());
        }
        Ok(measured)
    }

    /// Whether memory grows with the rows.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn memory(&self, rows: u64) -> Result<()> {
        println!("{HEAD}");
        let mut peaks = Vec::new();
        for rows in [rows, 4 * rows] {
            let state = self.fill("trades", TRADES, rows)?;
            let sync = self.sync("trades", &state)?;
            sync.print(&format!("mpsync sync, {rows} trades"));
            peaks.push(sync.peak_bytes as f64);
        }
        println!(
            "peak memory of four times as many rows: {:.2}",
            peaks[1] / peaks[0]
        );
        Ok(())
    }
}

/// The columns of [`Measured::print`].
const HEAD: &str = "                                              seconds mpsync CPU s engine CPU s   peak MB          bytes";

/// The time of a route.
#[derive(Default)]
struct Measured {
    seconds: f64,
    /// Of `mpsync`, where it had a part.
    cpu_seconds: f64,
    engine_cpu_seconds: f64,
    /// Resident memory of `mpsync`.
    peak_bytes: u64,
    /// Of the Parquet files, where there are any.
    bytes: u64,
}

impl Measured {
    fn print(&self, what: &str) {
        println!(
            "{what:44} {:8.2} {:12.2} {:12.2} {:9} {:14}",
            self.seconds,
            self.cpu_seconds,
            self.engine_cpu_seconds,
            self.peak_bytes >> 20,
            self.bytes
        );
    }
}

/// The program, without what a developer's shell says of it.
fn mpsync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpsync"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MPSYNC_")) {
        command.env_remove(name);
    }
    command.env_remove("LOG_LEVEL").stdin(Stdio::null());
    command
}

/// Processor time and peak memory of a child until it ends; it is left to be waited for.
fn watch(pid: u32) -> (f64, u64) {
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = high.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        match kib {
            Some(kib) => peak = kib << 10,
            // A process that has ended has times, and no memory any more.
            None => return (cpu_seconds(pid).unwrap_or_default(), peak),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th field after it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}

/// The bytes of all files below a folder whose names end so.
fn bytes_of(folder: &Path, ending: &str) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += bytes_of(&entry.path(), ending)?;
        } else if entry.file_name().to_string_lossy().ends_with(ending) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
