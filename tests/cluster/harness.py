"""Shared by the tests: one cluster for each class, and `mpsync` with a configuration for it."""

import json
import os
import subprocess
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from bed.cluster import NAME, Cluster, Node, free_ports

MPSYNC = Path(os.environ["MPSYNC"])
LIBRARY = Path(os.environ["MPSYNC_LIBCHDB"]).resolve()
# It only ends what hangs: a busy machine must never come near it.
PATIENCE = 180
# Rows with the position that they had in the stream. All values follow from the sequence: one sequence always makes the same row.
TRADES = (
    "SELECT toDateTime64('{hour}:00:00', 3, 'UTC') + (number % 3600), ['binance', 'okx'][1 + number % 2], 'spot', "
    "concat('S', toString(number % 5)), 'ws', toString(seq), toDecimal128(seq, 18) / 1000, 1.5, 'buy', if(number % 3 = 0, NULL, true), "
    "NULL, NULL, fromUnixTimestamp64Nano(toInt64(1700000000000000000 + seq), 'UTC'), 77, seq "
    "FROM (SELECT number, number + {first} AS seq FROM numbers({count}))"
)
STATE = "SELECT count(), uniqExact(stream_epoch, stream_seq), sum(cityHash64(tuple(*))) FROM {}"


def until(what: str, condition: Callable[[], bool], while_runs: "Run | None" = None) -> None:
    """Waits for a condition; fails if the process that is to fulfil it has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if while_runs is not None and while_runs.poll() is not None:
            raise AssertionError(f"ended with {while_runs.returncode} before {what}: {while_runs.log}")
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.05)


class ClusterCase(unittest.TestCase):
    """Tests on one cluster, each with its own databases."""

    cluster: Cluster
    number = 0
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        """Starts the servers."""
        cls.cluster = Cluster(LIBRARY)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()
        cls.r1, cls.r2 = cls.cluster.nodes

    def setUp(self):
        """Restarts the servers that an earlier test left down."""
        ClusterCase.number += 1
        self.cluster.heal()
        self.addCleanup(self.cluster.heal)


class Run(subprocess.Popen):
    """A run of the program. Its output goes into files: a full pipe would stop the program until a test reads it."""

    def __init__(self, folder: Path, arguments: list, environment: dict[str, str]):
        self._files = [tempfile.TemporaryFile("w+", dir=folder, errors="replace") for _ in range(2)]
        out, err = self._files
        super().__init__(arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def log(self) -> str:
        """The end of its standard error so far."""
        self._files[1].seek(0)
        return self._files[1].read()[-4000:]

    def finish(self) -> subprocess.CompletedProcess:
        """Waits for its end; returns exit code and output."""
        try:
            self.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
            raise AssertionError(f"{self.args} did not end within {PATIENCE} s:\n{self.log}") from None
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read())
            file.close()
        return subprocess.CompletedProcess(self.args, self.returncode, *texts)


class Mpsync:
    """The program under test, with hot and cold on given servers, and with its own archive or that of another worker."""

    def __init__(self, number: int, hot: Node, cold: Node, cluster: str | None = NAME, more: str = "", archive: Path | None = None):
        self._folder = tempfile.TemporaryDirectory(prefix="mpsync-run-")
        self.folder = Path(self._folder.name)
        self.archive = archive or self.folder / "archive"
        self.hot_database, self.cold_database = f"hot_{number}", f"cold_{number}"
        self.more = more
        self.cluster = cluster
        self.use(hot, cold)

    def use(self, hot: Node, cold: Node) -> None:
        """Points it at these servers from now on."""
        clustered = f", clickhouse_cluster: {self.cluster}" if self.cluster else ""
        common = f"request_timeout_seconds: 20{clustered}"
        (self.folder / "mpsync.yaml").write_text(
            f"hot_storage: {{clickhouse_http_port: {hot.port}, clickhouse_database: {self.hot_database}, {common}}}\n"
            f"cold_storage: {{clickhouse_http_port: {cold.port}, clickhouse_database: {self.cold_database}, retention_days: 0, {common}}}\n"
            f"archive: {{path: {self.archive}}}\nsync: {{lease_seconds: 2}}\n{self.more}\n"
        )

    def close(self) -> None:
        """Removes its folder."""
        self._folder.cleanup()

    def start(self, *arguments: str, **environment: str) -> Run:
        """Starts the program, without the settings of this process' environment."""
        own = ("LOG_LEVEL", "ENVIRONMENT", "STORAGE_MODE")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MPSYNC_", "AWS_")) and k not in own}
        return Run(self.folder, [MPSYNC, "--config", self.folder / "mpsync.yaml", *arguments], clean | environment)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Runs it to its end."""
        return self.start(*arguments, **environment).finish()

    def succeed(self, *arguments: str, **environment: str) -> str:
        """Runs it; returns its output. Fails unless it ends with 0."""
        done = self.run(*arguments, **environment)
        if done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def report(self, *arguments: str, **environment: str) -> dict:
        """Runs it with JSON output; returns the document. Fails unless it ends with 0."""
        return json.loads(self.succeed(*arguments, "--output", "json", **environment))


class TierCase(ClusterCase):
    """Tests of `mpsync` with hot and cold in one cluster, both Replicated."""

    def tiers(self, hot: Node | None = None, cold: Node | None = None, more: str = "") -> Mpsync:
        """Creates databases and tables on all replicas; returns the program that works on them."""
        mpsync = Mpsync(self.number, hot or self.r1, cold or self.r2, more=more)
        self.addCleanup(mpsync.close)
        self.mpsync = mpsync
        for database in (mpsync.hot_database, mpsync.cold_database):
            self.r1.query(f"CREATE DATABASE {database} ON CLUSTER {NAME}")
        self.addCleanup(self.drop_databases, mpsync)
        for tier in ("hot", "cold"):
            mpsync.succeed("schema", "apply", "--tier", tier, "--dataset", "trades")
        return mpsync

    def drop_databases(self, mpsync: Mpsync) -> None:
        """Drops the databases, so that the next test does not wait for their merges and fetches."""
        self.cluster.heal()
        for database in (mpsync.hot_database, mpsync.cold_database):
            for node in self.cluster.nodes:
                node.query(f"DROP DATABASE IF EXISTS {database}")

    def hot(self, table: str = "trades") -> str:
        """Returns the qualified name of a table of hot."""
        return f"{self.mpsync.hot_database}.{table}"

    def cold(self, table: str = "trades") -> str:
        """Returns the qualified name of a table of cold."""
        return f"{self.mpsync.cold_database}.{table}"

    def insert(self, node: Node, hour: str, first: int, count: int, **settings: str) -> None:
        """Inserts `count` trades of an hour into hot through a replica, with sequences from `first`."""
        node.query(f"INSERT INTO {self.hot()} " + TRADES.format(hour=hour, first=first, count=count), **settings)

    def count(self, node: Node, table: str) -> int:
        """Returns the number of rows that a replica has of a table."""
        return int(node.query(f"SELECT count() FROM {table}"))

    def check(self, table: str, rows: int) -> str:
        """Checks that both replicas have the same `rows` rows, each position once; returns count, positions and fingerprint."""
        self.cluster.sync(table)
        states = {node.name: node.query(STATE.format(table)) for node in self.cluster.nodes}
        self.assertEqual(states["r1"], states["r2"])
        self.assertEqual(states["r1"].split("\t")[:2], [str(rows), str(rows)], f"{table}: {states}")
        return states["r1"]

    def check_no_helpers(self) -> None:
        """Checks that neither replica has a helper table, except the empty ones that fence an earlier attempt."""
        for node in self.cluster.nodes:
            left = node.query(
                "SELECT concat(database, '.', name), total_rows FROM system.tables WHERE engine != 'Null' AND match(name, '_(stage|sealed|check|retired|in)_') "
                f"AND database IN ('{self.mpsync.hot_database}', '{self.mpsync.cold_database}') ORDER BY 1"
            )
            self.assertEqual(left, "", f"left on {node.name}")


class Plain:
    """One server, `mpsync engine`, with plain tables: the reference that a cluster is compared with."""

    def __init__(self, case: ClusterCase):
        folder = tempfile.TemporaryDirectory(prefix="mpsync-plain-")
        case.addCleanup(folder.cleanup)
        (port,) = free_ports(1)
        process = subprocess.Popen(
            [MPSYNC, "engine", "--data", folder.name, "--listen", f"127.0.0.1:{port}", "--no-auth"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for cleanup in (process.stdout.close, process.wait, process.kill):
            case.addCleanup(cleanup)
        # One line when it is ready.
        if not process.stdout.readline():
            raise AssertionError("mpsync engine did not start")
        self.node = Node("plain", Path(folder.name), port, 0)
        self.mpsync = Mpsync(case.number, self.node, self.node, cluster=None)
        case.addCleanup(self.mpsync.close)
        for tier in ("hot", "cold"):
            self.mpsync.succeed("schema", "apply", "--tier", tier, "--dataset", "trades")

    def insert(self, hour: str, first: int, count: int) -> None:
        """Inserts the same rows as `TierCase.insert`."""
        self.node.query(f"INSERT INTO {self.mpsync.hot_database}.trades " + TRADES.format(hour=hour, first=first, count=count))

    def state(self, tier: str) -> str:
        """Returns count, positions and fingerprint of a tier's rows."""
        database = self.mpsync.hot_database if tier == "hot" else self.mpsync.cold_database
        return self.node.query(STATE.format(f"{database}.trades"))
