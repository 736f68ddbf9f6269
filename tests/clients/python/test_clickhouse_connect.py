"""clickhouse-connect against `mpsync engine`: what a user of the Python client does, done to the embedded engine."""

import datetime
import decimal
import io
import os
import unittest
import urllib.parse

import clickhouse_connect
import pyarrow
import pyarrow.parquet
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

URL = urllib.parse.urlsplit(os.environ["MPSYNC_ENGINE_URL"])
PASSWORD = os.environ["MPSYNC_ENGINE_PASSWORD"]


def connect(**options):
    options = {"username": "default", "password": PASSWORD, **options}
    return clickhouse_connect.get_client(host=URL.hostname, port=URL.port, **options)


class WithClient(unittest.TestCase):
    def setUp(self):
        self.client = connect()
        self.addCleanup(self.client.close)
        self.table = "t_" + self.id().rsplit(".", 1)[1]

    def create(self, columns, order="tuple()"):
        self.client.command(f"CREATE TABLE {self.table} ({columns}) ENGINE = MergeTree ORDER BY {order}")


class Queries(WithClient):
    def test_the_server_says_what_it_is(self):
        self.assertRegex(self.client.server_version, r"^\d+\.\d+")
        self.assertTrue(self.client.ping())
        self.assertEqual(self.client.command("SELECT version()"), self.client.server_version)

    def test_types_come_as_python_values(self):
        row = self.client.query(
            "SELECT toUInt64(18446744073709551615), toDecimal128('0.123456789012345678', 18), 'ü', "
            "toDateTime64('2026-01-02 03:04:05.678', 3, 'UTC'), [1, NULL], map('a', 1), (1, 'x'), "
            "toUUID('00000000-0000-0000-0000-000000000001'), CAST(NULL AS Nullable(String)), toLowCardinality('l')"
        ).result_rows[0]
        self.assertEqual(row[0], 2**64 - 1)
        self.assertEqual(row[1], decimal.Decimal("0.123456789012345678"))
        self.assertEqual(row[2], "ü")
        at = row[3].replace(tzinfo=None) if row[3].tzinfo else row[3]
        self.assertEqual(at, datetime.datetime(2026, 1, 2, 3, 4, 5, 678000))
        self.assertEqual((row[4], row[5], row[6], row[8], row[9]), ([1, None], {"a": 1}, (1, "x"), None, "l"))

    def test_statements_that_are_no_select(self):
        self.create("x UInt8")
        self.assertEqual(self.client.command(f"EXISTS TABLE {self.table}"), 1)
        self.assertIn(self.table, self.client.command("SHOW TABLES"))
        self.assertEqual(self.client.query(f"DESCRIBE TABLE {self.table}").result_rows[0][:2], ("x", "UInt8"))
        self.assertIn("ReadFromSystemOne", self.client.command("EXPLAIN SELECT 1"))
        self.client.command(f"INSERT INTO {self.table} SELECT number FROM numbers(10)")
        self.client.command(f"ALTER TABLE {self.table} DELETE WHERE x < 5 SETTINGS mutations_sync = 2")
        self.assertEqual(self.client.command(f"SELECT count() FROM {self.table}"), 5)
        self.client.command(f"DROP TABLE {self.table}")
        self.assertEqual(self.client.command(f"EXISTS TABLE {self.table}"), 0)

    def test_parameters_are_bound_by_the_server(self):
        result = self.client.query(
            "SELECT {text:String}, {number:Int64}, {list:Array(String)}, {at:DateTime}",
            parameters={
                "text": "it's; --",
                "number": -5,
                "list": ["a", "b'c"],
                "at": datetime.datetime(2026, 1, 2, 3, 4, 5),
            },
        )
        self.assertEqual(result.result_rows[0][:3], ("it's; --", -5, ["a", "b'c"]))

    def test_a_long_parameter_travels_in_a_form(self):
        client = connect(form_encode_query_params=True)
        self.addCleanup(client.close)
        text = "x" * 200_000
        self.assertEqual(client.query("SELECT length({t:String})", parameters={"t": text}).result_rows, [(200_000,)])

    def test_settings_are_of_the_query(self):
        asked = self.client.query("SELECT getSetting('max_block_size')", settings={"max_block_size": 1234})
        self.assertEqual(asked.result_rows, [(1234,)])
        self.assertNotEqual(self.client.query("SELECT getSetting('max_block_size')").result_rows, [(1234,)])

    def test_rows_are_streamed(self):
        with self.client.query_rows_stream("SELECT number FROM numbers(1000000)") as rows:
            self.assertEqual(sum(row[0] for row in rows), 499999500000)

    def test_raw_results_come_in_any_format(self):
        self.assertEqual(self.client.raw_query("SELECT 1 AS x", fmt="JSONEachRow"), b'{"x":1}\n')
        parquet = self.client.raw_query("SELECT number FROM numbers(1000)", fmt="Parquet")
        self.assertEqual(pyarrow.parquet.read_table(io.BytesIO(parquet)).num_rows, 1000)

    def test_the_summary_counts(self):
        self.create("x UInt64")
        summary = self.client.insert(self.table, [[n] for n in range(321)], column_names=["x"])
        self.assertEqual(summary.written_rows, 321)
        result = self.client.query(f"SELECT * FROM {self.table}", settings={"query_id": "named-by-the-client"})
        self.assertEqual(result.summary["read_rows"], "321")
        self.assertEqual(result.query_id, "named-by-the-client")


class Errors(WithClient):
    def test_an_error_names_its_code(self):
        with self.assertRaisesRegex(DatabaseError, r"(?s)60.*UNKNOWN_TABLE|UNKNOWN_TABLE.*60"):
            self.client.query("SELECT * FROM nowhere")
        with self.assertRaisesRegex(DatabaseError, "SYNTAX_ERROR"):
            self.client.command("SELEC 1")

    def test_an_error_in_mid_stream_is_raised(self):
        sql = "SELECT throwIf(number = 5000000, 'in the middle') FROM numbers(10000000)"
        settings = {"max_threads": 1, "max_block_size": 10000, "wait_end_of_query": 0}
        with self.assertRaisesRegex(ClickHouseError, "in the middle"):
            with self.client.query_rows_stream(sql, settings=settings) as rows:
                for _ in rows:
                    pass
        # The client and its session go on.
        self.assertEqual(self.client.command("SELECT 1"), 1)

    def test_a_wrong_password_is_refused(self):
        with self.assertRaisesRegex(DatabaseError, "AUTHENTICATION_FAILED|516"):
            connect(password="wrong")
        with self.assertRaisesRegex(DatabaseError, "AUTHENTICATION_FAILED|516"):
            connect(username="nobody")

    def test_a_bad_row_refuses_its_insert(self):
        self.create("x UInt8")
        with self.assertRaises(DatabaseError):
            self.client.raw_insert(self.table, column_names=["x"], insert_block=b"1\nmany\n", fmt="CSV")
        self.assertEqual(self.client.command(f"SELECT count() FROM {self.table}"), 0)


class Inserts(WithClient):
    COLUMNS = (
        "id UInt64, price Decimal(38, 18), symbol LowCardinality(String), at DateTime64(3, 'UTC'), "
        "note Nullable(String), levels Array(Tuple(Decimal(18, 8), Decimal(18, 8)))"
    )

    def rows(self, count):
        at = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        return [
            [n, decimal.Decimal(n) / 8, f"S{n % 3}", at, None if n % 2 else str(n), [(decimal.Decimal(n), decimal.Decimal(1))]]
            for n in range(count)
        ]

    def test_rows_go_in_and_come_out(self):
        self.create(self.COLUMNS, "id")
        rows = self.rows(1000)
        self.client.insert(self.table, rows)
        result = self.client.query(f"SELECT * FROM {self.table} ORDER BY id").result_rows
        self.assertEqual(len(result), 1000)
        self.assertEqual(result[7][:3], (7, decimal.Decimal("0.875"), "S1"))
        self.assertEqual(result[7][5], [(decimal.Decimal(7), decimal.Decimal(1))])

    def test_compression_of_every_kind_both_ways(self):
        for method in ("lz4", "zstd", "gzip", False):
            with self.subTest(method=method):
                client = connect(compress=method)
                self.addCleanup(client.close)
                table = f"{self.table}_{method}"
                client.command(f"CREATE TABLE {table} ({self.COLUMNS}) ENGINE = MergeTree ORDER BY id")
                client.insert(table, self.rows(5000))
                result = client.query(f"SELECT sum(id), count() FROM {table}").result_rows
                self.assertEqual(result, [(12497500, 5000)])
                rows = client.query("SELECT number, toString(number) FROM numbers(200000)").result_rows
                self.assertEqual((len(rows), rows[-1]), (200000, (199999, "199999")))
                with self.assertRaises(DatabaseError):
                    client.query("SELECT * FROM nowhere")

    def test_raw_inserts_compressed_by_the_client(self):
        import gzip

        import lz4.frame
        import zstandard

        self.create("x UInt64, s String")
        data = b"".join(b"%d,text\n" % n for n in range(10000))
        bodies = {
            "gzip": gzip.compress(data),
            "lz4": lz4.frame.compress(data),
            "zstd": zstandard.ZstdCompressor().compress(data),
        }
        for method, body in bodies.items():
            self.client.raw_insert(self.table, insert_block=body, fmt="CSV", compression=method)
        self.assertEqual(self.client.command(f"SELECT count() FROM {self.table}"), 30000)

    def test_a_generator_is_streamed(self):
        self.create("x UInt64")
        blocks = (b"".join(b"%d\n" % (block * 1000 + n) for n in range(1000)) for block in range(500))
        self.client.raw_insert(self.table, insert_block=blocks, fmt="TSV")
        row = self.client.query(f"SELECT count(), sum(x) FROM {self.table}").result_rows[0]
        self.assertEqual(row, (500000, 124999750000))


class Arrow(WithClient):
    def test_arrow_goes_in_and_comes_out(self):
        self.create("id UInt64, price Decimal(38, 18), at DateTime64(3, 'UTC'), note Nullable(String)", "id")
        table = pyarrow.table(
            {
                "id": pyarrow.array(range(10000), pyarrow.uint64()),
                "price": pyarrow.array([decimal.Decimal(n).scaleb(-18) for n in range(10000)], pyarrow.decimal128(38, 18)),
                "at": pyarrow.array([n * 1000 for n in range(10000)], pyarrow.timestamp("ms", "UTC")),
                "note": pyarrow.array([None if n % 2 else str(n) for n in range(10000)], pyarrow.string()),
            }
        )
        self.assertEqual(self.client.insert_arrow(self.table, table).written_rows, 10000)
        back = self.client.query_arrow(f"SELECT * FROM {self.table} ORDER BY id", use_strings=True)
        self.assertEqual(back.column("id").to_pylist(), table.column("id").to_pylist())
        self.assertEqual(back.column("price").to_pylist(), table.column("price").to_pylist())
        self.assertEqual(back.column("at").to_pylist(), table.column("at").to_pylist())
        self.assertEqual(back.column("note").to_pylist(), table.column("note").to_pylist())

    def test_a_large_result_is_one_stream(self):
        sql = "SELECT number, toString(number) AS text FROM numbers(2000000)"
        rows = 0
        with self.client.query_arrow_stream(sql) as batches:
            for batch in batches:
                rows += batch.num_rows
        self.assertEqual(rows, 2000000)
        self.assertEqual(self.client.query_arrow(sql).num_rows, 2000000)


class Sessions(WithClient):
    def test_a_session_has_temporary_tables(self):
        client = connect(session_id="python-session")
        self.addCleanup(client.close)
        client.command("CREATE TEMPORARY TABLE mine (x UInt8)")
        client.insert("mine", [[1], [2]], column_names=["x"])
        self.assertEqual(client.command("SELECT sum(x) FROM mine"), 3)
        with self.assertRaises(DatabaseError):
            self.client.command("SELECT sum(x) FROM mine")

    def test_a_session_keeps_its_settings(self):
        client = connect(session_id="python-settings")
        self.addCleanup(client.close)
        client.command("SET max_block_size = 4321")
        self.assertEqual(client.command("SELECT getSetting('max_block_size')"), 4321)

    def test_a_client_has_its_database(self):
        self.client.command("CREATE DATABASE IF NOT EXISTS elsewhere")
        client = connect(database="elsewhere")
        self.addCleanup(client.close)
        self.assertEqual(client.command("SELECT currentDatabase()"), "elsewhere")
        with self.assertRaises(DatabaseError):
            connect(database="nowhere_at_all")


if __name__ == "__main__":
    unittest.main()
