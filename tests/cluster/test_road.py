"""The road on a cluster: hot and cold are Replicated, `mpsync` talks to one replica of each, and no row is lost or doubled."""

import signal
import time

from bed.cluster import NAME
from bed.engine import DatabaseError
from harness import Mpsync, Plain, RoadCase, until

HOURS = [f"2026-01-01 {hour:02}" for hour in (5, 6, 7)]
SYNC = ("sync", "--dataset", "trades")
CLEAN = (*SYNC, "--cleanup")


class Road(RoadCase):
    """`mpsync` with hot on replica 1 and cold on replica 2."""

    def test_schema_apply_makes_database_and_tables_on_every_replica(self):
        """Nothing was made by hand before."""
        mpsync = Mpsync(self.number, self.r1, self.r2)
        self.addCleanup(mpsync.close)
        self.addCleanup(self.drop_databases, mpsync)
        mpsync.succeed("schema", "apply", "--tier", "hot", "--dataset", "trades")
        for node in self.cluster.nodes:
            self.assertEqual(node.query(f"SELECT engine FROM system.tables WHERE database = '{mpsync.hot_database}'"), "ReplicatedMergeTree")

    def test_sync_gives_the_same_tables_as_on_a_plain_server(self):
        """Rows inserted through either replica; cold and archive as a plain server's."""
        self.road()
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

    def test_no_helper_table_is_left_on_either_replica(self):
        """Made for a load, a comparison or a cleanup, and dropped where it was made."""
        self.road()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        for step in (SYNC, CLEAN):
            self.mpsync.succeed(*step)
            self.check_no_helpers()

    def test_late_rows_through_either_replica_are_a_further_generation(self):
        """Cleaned hours get rows again, from both sides."""
        self.road()
        self.insert(self.r1, HOURS[0], 1, 500)
        self.mpsync.succeed(*CLEAN)
        self.insert(self.r2, HOURS[0], 1001, 20)
        self.insert(self.r1, HOURS[0], 2001, 20)
        self.cluster.sync(self.hot())
        self.check_nothing_lost(540)

    def check_nothing_lost(self, rows: int) -> None:
        """After what a test did: all is healed, one more cleanup, and every row is in cold, once, and proven in the archive."""
        self.cluster.heal()
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        self.check(self.cold(), rows)
        self.check(self.hot(), 0)
        self.mpsync.succeed("verify", "--deep", "--against", "cold")

    def test_cleanup_through_a_replica_that_lags_loses_no_row(self):
        """Replica 2 takes a row that replica 1, through which hot is cleaned, has not fetched."""
        self.road()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        self.insert(self.r2, HOURS[0], 5001, 1)
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1001)

    def test_cleanup_loses_no_row_that_arrives_through_the_other_replica_meanwhile(self):
        """Replica 1 lags for a moment again and again while rows arrive through replica 2 and hot is cleaned through replica 1."""
        self.road()
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

    def test_cleanup_through_one_replica_while_the_other_lags_loses_no_row(self):
        """Replica 2 has not fetched what is cleaned through replica 1."""
        self.road(cold=self.r1)
        self.cluster.lag(self.r2)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.mpsync.run(*CLEAN)
        self.insert(self.r2, HOURS[0], 5001, 10)
        self.check_nothing_lost(1010)

    def test_a_load_into_cold_through_a_replica_that_lags_loses_and_doubles_nothing(self):
        """Cold's replica has not fetched what an earlier load through the other replica put there."""
        self.road(cold=self.r1)
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

    def test_sync_goes_on_while_the_other_replica_is_down(self):
        """That is what replicas are for; and nothing is left once it is there again."""
        self.road(cold=self.r1)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.r2.kill()
        done = self.mpsync.run(*SYNC)
        self.r2.start()
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.check_nothing_lost(1000)
        self.check_no_helpers()

    def test_cleanup_while_the_other_replica_is_down_loses_nothing_that_only_it_has(self):
        """Replica 2 took rows, and was down before replica 1 had them."""
        self.road(cold=self.r1)
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        self.insert(self.r2, HOURS[0], 5001, 10)
        self.r2.kill()
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1010)

    def test_a_run_without_keeper_fails_and_the_next_one_with_it_goes_on(self):
        """Nothing is lost, and nothing is left."""
        self.road()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.keeper.kill()
        done = self.mpsync.run(*CLEAN)
        self.assertEqual(done.returncode, 1, done.stderr[-3000:])
        self.cluster.keeper.start()
        self.check_nothing_lost(1000)

    def test_rows_inserted_with_a_quorum_that_was_not_reached_are_in_cold_once_if_they_stay(self):
        """Replica 2 takes rows and fails to pass them on in time: the writer does not know, and repeats them."""
        self.road()
        self.insert(self.r1, HOURS[0], 1, 1000)
        self.cluster.sync(self.hot())
        self.cluster.lag(self.r1)
        with self.assertRaises(DatabaseError) as raised:
            self.insert(self.r2, HOURS[0], 5001, 10, insert_quorum="2", insert_quorum_timeout="300")
        self.assertEqual(raised.exception.code, 319)
        self.mpsync.run(*CLEAN)
        self.check_nothing_lost(1010)

    def test_retention_takes_old_partitions_off_both_replicas_of_cold(self):
        """What the archive proves to hold leaves cold; a row that cold's replica has not fetched does not vanish with it."""
        self.road()
        self.insert(self.r1, "2024-01-01 05", 1, 1000)
        self.insert(self.r1, HOURS[0], 5001, 1000)
        self.cluster.sync(self.hot())
        self.mpsync.succeed(*CLEAN)
        self.check(self.cold(), 2000)
        self.mpsync.succeed(*CLEAN, "--retention", MPSYNC__COLD_STORAGE__RETENTION_DAYS="730")
        self.check(self.cold(), 1000)
        self.mpsync.succeed("verify", "--deep")

    def test_retention_through_a_replica_that_lags_takes_nothing_that_is_not_archived(self):
        """A row that only the other replica of cold has, and the archive has not, stays."""
        self.road()
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

    def test_gc_sweeps_what_a_killed_run_left_on_both_replicas(self):
        """Killed while it works; the next cleanup finishes it, and gc leaves no helper table on either replica."""
        self.road()
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

    def test_import_makes_cold_again_on_both_replicas(self):
        """Cold was lost, table and all."""
        self.road()
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

    def test_two_workers_each_through_a_replica_of_its_own_lose_and_double_nothing(self):
        """They share the archive, and with it the windows; rows arrive through both replicas meanwhile."""
        self.road(hot=self.r1, cold=self.r1)
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

    def test_a_damaged_chunk_is_repaired_from_the_cluster(self):
        """Cold's other replica serves for it."""
        self.road()
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
