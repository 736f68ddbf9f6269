"""Transfer on a cluster: hot and cold are Replicated, `mpsync` uses one replica of each, and no row is lost or duplicated."""

import re
import signal
import time

from bed.cluster import NAME
from bed.engine import DatabaseError
from harness import Mpsync, Plain, TierCase, until

HOURS = [f"2026-01-01 {hour:02}" for hour in (5, 6, 7)]
SYNC = ("sync", "--dataset", "trades")
CLEAN = (*SYNC, "--cleanup")


class Transfer(TierCase):
    """Tests with hot on replica 1 and cold on replica 2, if a test does not choose otherwise."""

    def test_schema_apply_creates_database_and_tables_on_every_replica(self):
        """Begins with a cluster that has no database."""
        mpsync = Mpsync(self.number, self.r1, self.r2)
        self.addCleanup(mpsync.close)
        self.addCleanup(self.drop_databases, mpsync)
        mpsync.succeed("schema", "apply", "--tier", "hot", "--dataset", "trades")
        for node in self.cluster.nodes:
            self.assertEqual(node.query(f"SELECT engine FROM system.tables WHERE database = '{mpsync.hot_database}'"), "ReplicatedMergeTree")

    def test_sync_and_cleanup_give_the_tables_of_a_plain_server(self):
        """Inserts the same rows through either replica and into a plain server."""
        self.tiers()
        plain = Plain(self)
        for n, hour in enumerate(HOURS):
            self.insert(self.cluster.nodes[n % 2], hour, n * 100_000, 2000)
            plain.insert(hour, n * 100_000, 2000)
        self.cluster.sync(self.hot())
        for step in (SYNC, CLEAN):
            self.mpsync.succeed(*step)
            plain.mpsync.succeed(*step)
            self.assertEqual(self.check(self.cold(), 6000), plain.state("cold"))
        self.check(self.hot(), 0)
        for mpsync in (self.mpsync, plain.mpsync):
            mpsync.succeed("verify", "--deep", "--against", "cold")

    def test_no_helper_table_remains_on_either_replica(self):
        """Looks for staging, check and set-aside tables after a sync and after a cleanup."""
        self.tiers()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        for step in (SYNC, CLEAN):
            self.mpsync.succeed(*step)
            self.check_no_helpers()

    def test_late_rows_through_either_replica_are_archived(self):
        """Inserts into an hour that is cleaned already, through both replicas."""
        self.tiers()
        self.insert(self.r1, HOURS[0], 1, 500)
        self.mpsync.succeed(*CLEAN)
        self.insert(self.r2, HOURS[0], 1001, 20)
        self.insert(self.r1, HOURS[0], 2001, 20)
        self.cluster.sync(self.hot())
        self.check_nothing_lost(540)

    def check_nothing_lost(self, rows: int) -> None:
        """Restarts what is down, ends lag, and cleans once more: every row is in cold once, and in the archive, and hot is empty."""
        self.cluster.heal()
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        self.check(self.cold(), rows)
        self.check(self.hot(), 0)
        self.mpsync.succeed("verify", "--deep", "--against", "cold")

    def test_cleanup_through_lagging_replica_loses_no_row(self):
        """Replica 2 has a row that replica 1, through which hot is cleaned, has not fetched."""
        self.tiers()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        self.insert(self.r2, HOURS[0], 5001, 1)
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1001)

    def test_cleanup_loses_no_row_that_arrives_through_the_other_replica(self):
        """Rows arrive through replica 2 during each cleanup through replica 1, which lags for moments."""
        self.tiers()
        rows = 0
        for hour in HOURS:
            self.insert(self.r1, hour, 1 + rows, 500)
            rows += 500
        self.cluster.sync(self.hot())
        for n in range(4):
            self.cluster.lag(self.r1)
            running = self.mpsync.start(*CLEAN)
            late = 0
            while running.poll() is None and late < 400:
                self.insert(self.r2, HOURS[late // 10 % 3], 1_000_000 + 10_000 * n + late, 10)
                late += 10
                if late % 50 == 0:
                    self.cluster.lag(self.r1, late % 100 != 0)
            running.finish()
            rows += late
            self.cluster.lag(self.r1, False)
        self.check_nothing_lost(rows)

    def test_cleanup_while_the_other_replica_lags_loses_no_row(self):
        """Replica 2 has not fetched the rows that are cleaned through replica 1."""
        self.tiers(cold=self.r1)
        self.cluster.lag(self.r2)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.mpsync.run(*CLEAN)
        self.insert(self.r2, HOURS[0], 5001, 10)
        self.check_nothing_lost(1010)

    def test_load_into_lagging_replica_of_cold_duplicates_no_row(self):
        """Cold's replica has not fetched the rows that an earlier load put there through the other replica."""
        self.tiers(cold=self.r1)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.mpsync.succeed(*SYNC)
        self.insert(self.r1, HOURS[0], 5001, 10)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r2)
        self.mpsync.succeed(*SYNC)
        self.mpsync.use(self.r1, self.r2)
        self.mpsync.run(*SYNC)
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1010)

    def test_sync_works_while_the_other_replica_is_down(self):
        """No helper table remains when the replica is back."""
        self.tiers(cold=self.r1)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.r2.kill()
        done = self.mpsync.run(*SYNC)
        self.r2.start()
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.check_nothing_lost(1000)
        self.check_no_helpers()

    def test_cleanup_while_the_other_replica_is_down_loses_no_row(self):
        """Replica 2 takes rows and is killed before replica 1 has fetched them."""
        self.tiers(cold=self.r1)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        self.insert(self.r2, HOURS[0], 5001, 10)
        self.r2.kill()
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1010)

    def test_run_without_keeper_fails_and_the_next_one_completes(self):
        """The first run ends with 1."""
        self.tiers()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.keeper.kill()
        done = self.mpsync.run(*CLEAN)
        self.assertEqual(done.returncode, 1, done.stderr[-3000:])
        self.cluster.keeper.start()
        self.check_nothing_lost(1000)

    def test_rows_of_a_failed_quorum_insert_are_not_lost(self):
        """An insert through replica 2 ends with an unknown outcome; its rows are on replica 2 only when hot is cleaned through replica 1."""
        self.tiers()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        with self.assertRaises(DatabaseError) as raised:
            self.insert(self.r2, HOURS[0], 5001, 10, insert_quorum="2", insert_quorum_timeout="300")
        self.assertEqual(raised.exception.code, 319)
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1010)

    def test_retention_removes_old_partitions_from_both_replicas(self):
        """Recent partitions stay in cold, and the archive keeps all."""
        self.tiers()
        self.insert(self.r1, "2024-01-01 05", 1, 1000)
        self.insert(self.r1, HOURS[0], 5001, 1000)
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        self.check(self.cold(), 2000)
        self.mpsync.succeed(*CLEAN, "--retention", MPSYNC__COLD_STORAGE__RETENTION_DAYS="730")
        self.check(self.cold(), 1000)
        self.mpsync.succeed("verify", "--deep")

    def test_retention_through_lagging_replica_keeps_unarchived_rows(self):
        """A row that is on the other replica of cold only, and not in the archive, stays in cold."""
        self.tiers()
        self.insert(self.r1, "2024-01-01 05", 1, 1000)
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        self.cluster.sync(self.cold())
        self.cluster.lag(self.r2)
        foreign = "SELECT * REPLACE (stream_seq + 500000 AS stream_seq)"
        self.r1.query(f"INSERT INTO {self.cold()} {foreign} FROM {self.cold()} LIMIT 1")
        self.mpsync.run(*CLEAN, "--retention", MPSYNC__COLD_STORAGE__RETENTION_DAYS="730")
        self.cluster.lag(self.r2, False)
        self.cluster.sync(self.cold())
        for node in self.cluster.nodes:
            found = node.query(f"SELECT count() FROM {self.cold()} WHERE stream_seq = 500001")
            self.assertEqual(found, "1", f"the row is not on {node.name}")

    def test_gc_removes_leftovers_of_killed_runs_from_both_replicas(self):
        """Kills two runs while they have a helper table; a further cleanup and gc remove it."""
        self.tiers()
        for n, hour in enumerate(HOURS):
            self.insert(self.r1, hour, n * 100_000, 2000)
        self.cluster.sync(self.hot())
        databases = f"('{self.mpsync.hot_database}', '{self.mpsync.cold_database}')"
        helpers = f"SELECT count() FROM system.tables WHERE match(name, '_(stage|sealed|check)_') AND database IN {databases}"
        for _ in range(2):
            running = self.mpsync.start(*CLEAN, "--jobs", "1")
            until("a helper table", lambda: self.r1.query(helpers) != "0" or running.poll() is not None)
            running.send_signal(signal.SIGKILL)
            running.finish()
        time.sleep(3)
        self.mpsync.succeed(*CLEAN)
        self.mpsync.succeed("gc", "--older-than", "0s")
        self.check_nothing_lost(6000)
        for node in self.cluster.nodes:
            self.assertEqual(node.query(helpers), "0", node.name)

    def test_cleanup_by_deletion_loses_no_unfetched_row(self):
        """Hot has no partitions, so that a cleanup deletes the rows of a window."""
        self.tiers()
        create = self.r1.query(f"SELECT create_table_query FROM system.tables WHERE database = '{self.mpsync.hot_database}' AND name = 'trades'")
        create = create.replace("\\'", "'").replace(f"{self.hot()} (", f"{self.hot()} ON CLUSTER {NAME} (", 1)
        create = re.sub(r"PARTITION BY \S+\(timestamp\) ", "", create)
        create = re.sub(r"'/clickhouse/tables/[^']*'", "'/clickhouse/tables/{uuid}/{shard}'", create)
        self.r1.query(f"DROP TABLE {self.hot()} ON CLUSTER {NAME} SYNC")
        self.r1.query(create)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        self.insert(self.r2, HOURS[0], 5001, 10)
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1010)

    def test_import_restores_cold_on_both_replicas(self):
        """Drops the table of cold on both replicas first."""
        self.tiers()
        for n, hour in enumerate(HOURS):
            self.insert(self.r1, hour, n * 100_000, 1000)
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        self.r1.query(f"DROP TABLE {self.cold()} ON CLUSTER {NAME} SYNC")
        self.mpsync.use(self.r2, self.r1)
        self.mpsync.succeed("schema", "apply", "--tier", "cold", "--dataset", "trades")
        self.mpsync.succeed("import", "--dataset", "trades")
        self.check(self.cold(), 3000)
        self.mpsync.succeed("verify", "--deep", "--against", "cold")

    def test_two_workers_on_two_replicas_lose_and_duplicate_no_row(self):
        """The workers share an archive and its leases; rows arrive through both replicas meanwhile."""
        self.tiers(hot=self.r1, cold=self.r1)
        second = Mpsync(self.number, self.r2, self.r2, archive=self.mpsync.archive)
        self.addCleanup(second.close)
        rows = 0
        for n, hour in enumerate(HOURS * 2):
            self.insert(self.cluster.nodes[n % 2], hour, 1 + rows, 500)
            rows += 500
        for _ in range(3):
            running = [worker.start(*CLEAN) for worker in (self.mpsync, second)]
            for n, hour in enumerate(HOURS):
                self.insert(self.cluster.nodes[n % 2], hour, 1 + rows, 20)
                rows += 20
            for run in running:
                run.finish()
        self.check_nothing_lost(rows)

    def test_repair_from_the_other_replica(self):
        """Flips a bit of a chunk after cleanup; cold's other replica has the rows."""
        self.tiers()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        chunk = next(self.mpsync.archive.rglob("part-*.parquet"))
        chunk.chmod(0o600)
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
        self.assertEqual(self.mpsync.run("verify").returncode, 3)
        self.cluster.sync(self.cold())
        self.mpsync.use(self.r2, self.r1)
        self.mpsync.succeed("verify", "--repair")
        self.mpsync.succeed("verify", "--deep", "--against", "cold")
