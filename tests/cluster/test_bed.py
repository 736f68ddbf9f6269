"""The bed itself: replication, lag, servers that are down, and the behaviour of Replicated tables that `mpsync` relies on."""

import time
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from bed import cityhash, patch
from bed.cluster import NAME
from bed.engine import DatabaseError
from harness import ClusterCase, until

ENGINE = "ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')"
# Codes of ClickHouse.
BAD_ARGUMENTS, TABLE_ALREADY_EXISTS, TIMEOUT_EXCEEDED, UNKNOWN_STATUS_OF_INSERT, PART_IS_TEMPORARILY_LOCKED = 36, 57, 159, 319, 384

# The hash of bytes N*N to N*N+N of the generated data.
VECTORS = {
    0: (0x06B56343FEAC0663, 0x5B7BC50FD8E8AD92),
    1: (0xE1D60D51632C536D, 0xCBC54A1DB641910A),
    3: (0xC6EF8A7F8DEB8116, 0x83DF17E3C9BB9A67),
    4: (0xF3E76E8A7135852F, 0x111E66CFBB05366D),
    7: (0xFC003C97AA05D397, 0x2FB5ADAD3380C3BC),
    8: (0x3B1BA41191219B6B, 0x722B25DFA6D0A04B),
    9: (0xDD59629A17E5492D, 0x81CB23BDAB95E30E),
    15: (0x66A6DFE54C441CD8, 0xB436DABDAAA37121),
    16: (0x4DB4C57F3A7A4AEE, 0x3CFD441CB222D06F),
    17: (0x8A5362485BBC9363, 0xE8EEC3C84FD9F2F8),
    31: (0x6C967B6C69367C2D, 0x145BD9EF258C4099),
    32: (0xF3BD691CE02C3014, 0x14CCAAD685A20764),
    64: (0x71C3AEF9E59E4452, 0x97886CA1CB073C55),
    127: (0xB6B0FB3A7981C7C8, 0x3EBD280B598A9721),
    128: (0x94AE9F66D82D71F0, 0x6B698643F5924CC6),
    129: (0x5BCF3E13A8184F6D, 0x5F17183906E40929),
    200: (0x77EB7EA3FAF6AF6F, 0xF2AE3F731CC6C3D1),
    255: (0x686332310340452D, 0xA826CB8D2394F95F),
    256: (0x21EB53B81A1608D7, 0x96A0A8CEF0AB1ADC),
    298: (0x0AA074B3B25A4F79, 0xB030F76A048D3C4E),
}


class Hash(unittest.TestCase):
    """The hash of every small file, which the replica that fetches it checks."""

    def test_cityhash_is_that_of_version_1_0_2(self):
        """Compares with vectors of the original tests: lengths for each branch, and their seed."""
        k0, mask = 0xC3A5C85C97CB3127, (1 << 64) - 1
        a, b, data = 9, 777, bytearray()
        for i in range(300 * 300):
            a = ((a ^ (a >> 41)) * k0 + b) & mask
            b = ((b ^ (b >> 41)) * k0 + i) & mask
            data.append((b >> 37) & 255)
        for n, expected in VECTORS.items():
            self.assertEqual(cityhash._with_seed(bytes(data[n * n : n * n + n]), (1234567, k0)), expected, n)

    def test_another_library_is_refused(self):
        """The patch is valid for one build only."""
        with TemporaryDirectory() as folder:
            other = Path(folder) / "libchdb.so"
            other.write_bytes(b"another build")
            with self.assertRaises(patch.Refused):
                patch.check_build(other)


class Bed(ClusterCase):
    """Tests on one table with two replicas."""

    def setUp(self):
        """Creates the table on both replicas."""
        super().setUp()
        self.table = f"bed_{self.number}.t"
        self.r1.query(f"CREATE DATABASE bed_{self.number} ON CLUSTER {NAME}")
        self.r1.query(f"CREATE TABLE {self.table} ON CLUSTER {NAME} (p UInt64, v String) ENGINE = {ENGINE} PARTITION BY p % 2 ORDER BY p")

    def state(self, node, table=None):
        """Returns count, sum and fingerprint of a replica's rows."""
        return node.query(f"SELECT count(), sum(p), groupBitXor(cityHash64(p, v)) FROM {table or self.table}")

    def check_same(self, rows):
        """Checks that both replicas have the same `rows` rows."""
        self.cluster.sync(self.table)
        first, second = self.state(self.r1), self.state(self.r2)
        self.assertEqual(first, second)
        self.assertEqual(first.split("\t")[0], str(rows))

    def test_parts_are_fetched_in_both_directions(self):
        """Compact and wide parts, an insert with its data in the body, and a part of several MB."""
        self.r1.query(f"INSERT INTO {self.table} SELECT number, toString(number) FROM numbers(1000)")
        self.r2.query(f"INSERT INTO {self.table} SELECT number + 1000, toString(number) FROM numbers(1000)")
        self.r2.query(f"INSERT INTO {self.table} (p, v) FORMAT TSV", data=b"5000\ta\n5001\tb\n")
        self.check_same(2002)
        self.r1.query(f"ALTER TABLE {self.table} MODIFY SETTING min_bytes_for_wide_part = 0", alter_sync="2")
        self.r1.query(f"INSERT INTO {self.table} SELECT number + 10000, randomPrintableASCII(20) FROM numbers(300000)")
        self.check_same(302002)
        forms = self.r2.query(f"SELECT DISTINCT part_type FROM system.parts WHERE database || '.' || table = '{self.table}' AND active ORDER BY 1")
        self.assertEqual(forms, "Compact\nWide")

    def test_replica_lags_and_catches_up(self):
        """A lagging replica has the log entry and not the part."""
        self.cluster.lag(self.r1)
        self.r2.query(f"INSERT INTO {self.table} VALUES (1, 'x')")
        time.sleep(0.5)
        self.assertEqual((self.state(self.r1)[0], self.state(self.r2)[0]), ("0", "1"))
        with self.assertRaises(DatabaseError) as raised:
            self.r1.query(f"SYSTEM SYNC REPLICA {self.table}", receive_timeout="1")
        self.assertEqual(raised.exception.code, TIMEOUT_EXCEEDED)
        self.cluster.lag(self.r1, False)
        self.check_same(1)

    def test_quorum_insert_waits_for_the_other_replica(self):
        """After the time-out the outcome is unknown: the rows are on one replica."""
        self.r1.query(f"INSERT INTO {self.table} VALUES (1, 'x')", insert_quorum="2")
        self.assertEqual(self.state(self.r2)[0], "1")
        self.cluster.lag(self.r2)
        with self.assertRaises(DatabaseError) as raised:
            self.r1.query(f"INSERT INTO {self.table} VALUES (3, 'x')", insert_quorum="2", insert_quorum_timeout="500")
        self.assertEqual(raised.exception.code, UNKNOWN_STATUS_OF_INSERT)
        self.cluster.lag(self.r2, False)
        self.check_same(2)

    def test_restarted_replica_catches_up(self):
        """Rows, a mutation and statements ON CLUSTER that it missed while it was killed."""
        self.r1.query(f"INSERT INTO {self.table} SELECT number, '' FROM numbers(100)")
        self.check_same(100)
        self.r2.kill()
        self.r1.query(f"INSERT INTO {self.table} SELECT number + 100, '' FROM numbers(100)")
        self.r1.query(f"ALTER TABLE {self.table} DELETE WHERE p < 50", mutations_sync="1")
        self.r1.query(f"CREATE TABLE {self.table}2 ON CLUSTER {NAME} AS {self.table}", distributed_ddl_output_mode="throw_only_active")
        with self.assertRaises(DatabaseError) as raised:
            self.r1.query(f"CREATE TABLE {self.table}3 ON CLUSTER {NAME} AS {self.table}", distributed_ddl_task_timeout="0.2")
        self.assertEqual(raised.exception.code, TIMEOUT_EXCEEDED)
        self.r2.start()
        self.check_same(150)
        for n in (2, 3):
            self.r2.query(f"INSERT INTO {self.table}{n} VALUES ({n}, '')")
            self.cluster.sync(f"{self.table}{n}")
            self.assertEqual(self.state(self.r1, f"{self.table}{n}")[0], "1")

    def test_keeper_outage_stops_inserts_and_not_reads(self):
        """After the restart of Keeper inserts work again."""
        self.r1.query(f"INSERT INTO {self.table} SELECT number, '' FROM numbers(100)")
        self.check_same(100)
        self.cluster.keeper.kill()
        for statement in (f"INSERT INTO {self.table} VALUES (1, '')", f"DROP TABLE {self.table} ON CLUSTER {NAME}"):
            with self.assertRaises(DatabaseError):
                self.r1.query(statement, insert_keeper_max_retries="1")
        self.assertEqual(self.state(self.r2).split("\t")[0], "100")
        self.cluster.keeper.start()
        self.cluster.sync(self.table)
        self.r1.query(f"INSERT INTO {self.table} SELECT number + 1000, '' FROM numbers(100)")
        self.check_same(200)

    def test_on_cluster_and_cluster_all_replicas_reach_both(self):
        """The error of the other replica is returned; clusterAllReplicas fails if a replica is down."""
        self.r2.query(f"CREATE TABLE bed_{self.number}.only (n UInt8) ENGINE = Memory")
        with self.assertRaises(DatabaseError) as raised:
            self.r1.query(f"CREATE TABLE bed_{self.number}.only ON CLUSTER {NAME} (n UInt8) ENGINE = Memory")
        self.assertEqual(raised.exception.code, TABLE_ALREADY_EXISTS)
        tables = f"SELECT count() FROM clusterAllReplicas('{NAME}', system.tables) WHERE database = 'bed_{self.number}' AND name = 'only'"
        self.assertEqual(self.r1.query(tables), "2")
        self.r1.query(f"DROP TABLE bed_{self.number}.only ON CLUSTER {NAME}")
        self.assertEqual(self.r1.query(tables), "0")
        self.r2.kill()
        with self.assertRaises(DatabaseError):
            self.r1.query(tables)

    def test_partition_operations_replicate(self):
        """DROP PARTITION and MOVE PARTITION take effect on both replicas."""
        self.r1.query(f"INSERT INTO {self.table} SELECT number, '' FROM numbers(100)")
        self.r1.query(f"CREATE TABLE {self.table}2 ON CLUSTER {NAME} AS {self.table}")
        self.cluster.sync(self.table)
        self.r2.query(f"ALTER TABLE {self.table} DROP PARTITION 0")
        self.r2.query(f"ALTER TABLE {self.table} MOVE PARTITION 1 TO TABLE {self.table}2")
        self.cluster.sync(f"{self.table}2")
        self.check_same(0)
        self.assertEqual(self.state(self.r1, f"{self.table}2").split("\t")[0], "50")
        self.assertEqual(self.state(self.r1, f"{self.table}2"), self.state(self.r2, f"{self.table}2"))

    def test_drop_part_keeps_unfetched_rows(self):
        """The unfetched part stays; DROP PART of a part that the other replica has merged is refused."""
        self.r1.query(f"INSERT INTO {self.table} SELECT number * 2, '' FROM numbers(10)")
        self.cluster.sync(self.table)
        self.cluster.lag(self.r1)
        self.r2.query(f"INSERT INTO {self.table} VALUES (100, '')")
        self.r1.query(f"ALTER TABLE {self.table} DROP PART '0_0_0_0'")
        self.cluster.lag(self.r1, False)
        self.check_same(1)
        self.cluster.lag(self.r1)
        self.r2.query(f"INSERT INTO {self.table} VALUES (102, '')")
        self.r2.query(f"OPTIMIZE TABLE {self.table} FINAL", alter_sync="1")
        with self.assertRaises(DatabaseError) as raised:
            self.r1.query(f"ALTER TABLE {self.table} DROP PART '0_1_1_0'")
        self.assertEqual(raised.exception.code, PART_IS_TEMPORARILY_LOCKED)
        self.cluster.lag(self.r1, False)
        self.check_same(2)

    def test_delete_with_subquery_is_refused(self):
        """Each replica would read its own table of that name."""
        self.r1.query(f"CREATE TABLE {self.table}2 (p UInt64) ENGINE = MergeTree ORDER BY p")
        with self.assertRaises(DatabaseError) as raised:
            self.r1.query(f"ALTER TABLE {self.table} DELETE WHERE p IN (SELECT p FROM {self.table}2)")
        self.assertEqual(raised.exception.code, BAD_ARGUMENTS)

    def test_attach_partition_from_plain_table_replicates(self):
        """The plain table exists on one replica only."""
        self.r1.query(f"CREATE TABLE {self.table}2 (p UInt64, v String) ENGINE = MergeTree PARTITION BY p % 2 ORDER BY p")
        self.r1.query(f"INSERT INTO {self.table}2 SELECT number, '' FROM numbers(100)")
        self.r1.query(f"ALTER TABLE {self.table} ATTACH PARTITION ID '1' FROM {self.table}2")
        self.check_same(50)

    def test_system_replicas_shows_lag(self):
        """`system.replicas` and `system.replication_queue` have the same content as on a server."""
        self.cluster.lag(self.r1)
        self.r2.query(f"INSERT INTO {self.table} VALUES (1, '')")
        where = f"WHERE database || '.' || table = '{self.table}'"
        until("the part is in the queue", lambda: self.r1.query(f"SELECT inserts_in_queue FROM system.replicas {where}") == "1")
        self.assertEqual(self.r1.query(f"SELECT type FROM system.replication_queue {where}"), "GET_PART")
        self.assertEqual(self.r1.query(f"SELECT is_readonly, total_replicas, active_replicas FROM system.replicas {where}"), "0\t2\t2")

    def test_large_result_is_complete_or_an_error(self):
        """The second query fails after more than a megabyte was sent."""
        self.assertEqual(len(self.r1.query("SELECT number FROM numbers(1000000)")), 6888889)
        with self.assertRaises(DatabaseError):
            self.r1.query("SELECT number, throwIf(number = 900000) FROM numbers(1000000)", max_block_size="10000")
