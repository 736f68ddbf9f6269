"""Compares an archive, read by DuckDB, pyarrow and Polars, with the tables of a ClickHouse.

Each column becomes a few exact numbers, the same for every reader: how many values are NULL, and a sum of what is there
(decimals and integers as they are, times in nanoseconds, texts by their length in bytes, books by the number of levels and the
sum of each field). Nothing passes through a float, and a type that is not known here is an error, not a column left out.

Where ARCHIVE_KEY_FILE names a key, in hex, the archive is encrypted, and pyarrow alone reads it.
"""

import glob
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from decimal import Context, Decimal, setcontext

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import pyarrow.parquet.encryption

# Enough digits for any sum: a Decimal of Python rounds to its context's precision.
setcontext(Context(prec=100))

NANOS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class ClickHouse:
    """Cold, over plain HTTP."""

    def __init__(self, url, database, password):
        self.url, self.database, self.password = url, database, password

    def query(self, sql):
        parameters = urllib.parse.urlencode({"database": self.database, "default_format": "TabSeparated"})
        request = urllib.request.Request(f"{self.url}/?{parameters}", data=sql.encode())
        request.add_header("X-ClickHouse-User", "default")
        request.add_header("X-ClickHouse-Key", self.password)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as e:
            raise SystemExit(f"error: ClickHouse refused {sql}: {e.read().decode(errors='replace')}") from e
        return [line.split("\t") for line in text.splitlines()]

    def columns(self, table):
        """Name and plain type of each column: without Nullable and LowCardinality, which say nothing of the value."""
        rows = self.query(f"DESCRIBE TABLE `{table}`")
        return [(row[0], plain_type(row[1].replace("\\'", "'"))) for row in rows]

    def summary(self, table, columns):
        wanted = ["count()"]
        for name, kind in columns:
            wanted += [sql for _, sql in self.expressions(f"`{name}`", kind)]
        values = self.query(f"SELECT {', '.join(f'toString({sql})' for sql in wanted)} FROM `{table}`")[0]
        numbers = iter(Decimal(value) for value in values)
        result = {"rows": next(numbers)}
        for name, kind in columns:
            result |= {f"{name} {label}": next(numbers) for label, _ in self.expressions(f"`{name}`", kind)}
        return result

    @staticmethod
    def expressions(column, kind):
        def total(sql):
            return f"ifNull(sum({sql}), 0)"

        def number(sql, kind):
            if (scale := decimal_scale(kind)) is not None:
                return f"toDecimal256({sql}, {scale})"
            return f"toInt256({sql})"

        nulls = ("nulls", f"countIf(isNull({column}))")
        if fields := level_fields(kind):
            sums = [
                (f"sum of {field}", total(f"arraySum(x -> {number(f'tupleElement(x, {place})', of)}, {column})"))
                for place, (field, of) in enumerate(fields, 1)
            ]
            return [("levels", total(f"length({column})")), *sums]
        if decimal_scale(kind) is not None or is_integer(kind):
            return [nulls, ("sum", total(number(column, kind)))]
        if kind == "Bool":
            return [nulls, ("sum", total(f"toUInt8({column})"))]
        if kind == "String":
            return [nulls, ("sum", total(f"length({column})"))]
        if scale := time_scale(kind):
            ticks = {3: "Milli", 6: "Micro", 9: "Nano"}[scale]
            return [nulls, ("sum", total(f"toInt256(toUnixTimestamp64{ticks}({column})) * {10 ** (9 - scale)}"))]
        raise SystemExit(f"error: column {column} is of type {kind}, which this test does not know")


def plain_type(kind):
    while match := re.fullmatch(r"(?:Nullable|LowCardinality)\((.*)\)", kind):
        kind = match[1]
    return kind


def decimal_scale(kind):
    match = re.fullmatch(r"Decimal\(\d+, (\d+)\)", kind)
    return int(match[1]) if match else None


def time_scale(kind):
    match = re.fullmatch(r"DateTime64\((3|6|9)(?:, '[^']*')?\)", kind)
    return int(match[1]) if match else None


def is_integer(kind):
    return re.fullmatch(r"U?Int\d+", kind) is not None


def level_fields(kind):
    """The fields of an Array(Tuple(name Decimal(p, s), …)): what a side of a book is."""
    match = re.fullmatch(r"Array\(Tuple\((.*)\)\)", kind)
    return re.findall(r"(\w+) (Decimal\(\d+, \d+\))", match[1]) if match else None


def exact(value):
    """A number of a reader as a Decimal; a float would be a reader that has lost digits."""
    if value is None:
        return Decimal(0)
    if isinstance(value, float):
        raise SystemExit("error: a reader answers with a float")
    return Decimal(value)


class DuckDB:
    """SQL on a glob of the Hive folders."""

    def summary(self, folder, columns):
        source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}

        def one(sql):
            return exact(connection.execute(sql).fetchone()[0])

        result = {"rows": one(f"SELECT count(*) FROM {source}")}
        for name, kind in columns:
            column = f'"{name}"'
            if fields := level_fields(kind):
                result[f"{name} levels"] = one(f"SELECT sum(len({column})) FROM {source}")
                levels = f"(SELECT unnest({column}) AS level FROM {source})"
                for field, _ in fields:
                    result[f"{name} sum of {field}"] = one(f"SELECT sum(level.{field}) FROM {levels}")
                continue
            result[f"{name} nulls"] = one(f"SELECT count(*) FILTER ({column} IS NULL) FROM {source}")
            if kind == "String":
                what = f"octet_length({column})" if types[name] == "BLOB" else f"strlen({column})"
            elif time_scale(kind):
                what = f"epoch_ns({column})"
            elif kind == "Bool":
                what = f"{column}::INT"
            else:
                what = column
            result[f"{name} sum"] = one(f"SELECT sum({what}) FROM {source}")
        return result


class PyArrow:
    """A dataset discovered from the folders; manifests and checksum files lie beside the chunks."""

    def rows(self, folder):
        dataset = pyarrow.dataset.dataset(folder, format="parquet", partitioning="hive", exclude_invalid_files=True)
        return dataset.count_rows(), lambda name: dataset.to_table(columns=[name]).column(0)

    def summary(self, folder, columns):
        count, values = self.rows(folder)
        result = {"rows": exact(count)}
        for name, kind in columns:
            column = values(name)
            if pyarrow.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            if fields := level_fields(kind):
                result[f"{name} levels"] = self.total(pyarrow.compute.list_value_length(column))
                levels = pyarrow.compute.list_flatten(column)
                for field, _ in fields:
                    result[f"{name} sum of {field}"] = self.total(pyarrow.compute.struct_field(levels, field))
                continue
            result[f"{name} nulls"] = exact(column.null_count)
            if kind == "String":
                total = self.total(pyarrow.compute.binary_length(column))
            elif time_scale(kind):
                total = self.total(column.cast(pyarrow.int64())) * NANOS[column.type.unit]
            else:
                total = self.total(column)
            result[f"{name} sum"] = total
        return result

    @staticmethod
    def total(column):
        if pyarrow.types.is_boolean(column.type):
            column = column.cast(pyarrow.int8())
        # The sum of 64-bit integers wraps around; of decimals of 38 digits it does not get there.
        if pyarrow.types.is_integer(column.type):
            column = column.cast(pyarrow.decimal128(38, 0))
        return exact(pyarrow.compute.sum(column).as_py())


class Polars:
    """A lazy scan of a glob of the Hive folders."""

    def summary(self, folder, columns):
        frame = polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
        types = frame.collect_schema()

        def one(expression):
            return exact(frame.select(expression).collect().item())

        result = {"rows": one(polars.len())}
        for name, kind in columns:
            column, factor = polars.col(name), 1
            if fields := level_fields(kind):
                result[f"{name} levels"] = one(column.list.len().cast(polars.Int128).sum())
                for field, _ in fields:
                    result[f"{name} sum of {field}"] = one(
                        column.list.explode().struct.field(field).drop_nulls().sum()
                    )
                continue
            result[f"{name} nulls"] = one(column.is_null().sum())
            if kind == "String" and types[name] == polars.Binary:
                values = column.bin.size()
            elif kind == "String":
                values = column.cast(polars.String).str.len_bytes()
            elif time_scale(kind):
                values, factor = column.to_physical(), NANOS[types[name].time_unit]
            else:
                values = column
            if decimal_scale(kind) is None:
                values = values.cast(polars.Int128)
            result[f"{name} sum"] = one(values.sum()) * factor
        return result


class Encrypted(PyArrow):
    """Chunk by chunk, each opened with the key."""

    def __init__(self, key_file):
        with open(key_file, encoding="ascii") as file:
            key = bytes.fromhex(file.read().strip())
        self.opened = pyarrow.parquet.encryption.create_decryption_properties(key)

    def rows(self, folder):
        chunks = sorted(glob.glob(f"{folder}/**/*.parquet", recursive=True))
        for chunk in chunks:
            try:
                pyarrow.parquet.ParquetFile(chunk)
            except OSError:
                continue
            raise SystemExit(f"error: {chunk} opens without its key")
        opened = (pyarrow.parquet.ParquetFile(chunk, decryption_properties=self.opened) for chunk in chunks)
        table = pyarrow.concat_tables([file.read() for file in opened])
        return table.num_rows, table.column


def main():
    archive, url, database, password_file = sys.argv[1:]
    with open(password_file, encoding="utf-8") as file:
        cold = ClickHouse(url, database, file.read().rstrip("\r\n"))
    datasets = sorted(
        entry.name for entry in os.scandir(archive) if entry.is_dir() and not entry.name.startswith(("_", "."))
    )
    tables = {row[0] for row in cold.query("SHOW TABLES")}
    key_file = os.environ.get("ARCHIVE_KEY_FILE")
    readers = [Encrypted(key_file)] if key_file else [DuckDB(), PyArrow(), Polars()]
    wrong, rows = [], 0
    for table in datasets:
        folder = os.path.join(archive, table)
        if not glob.glob(f"{folder}/**/*.parquet", recursive=True):
            continue
        columns = cold.columns(table)
        wanted = cold.summary(table, columns)
        rows += int(wanted["rows"])
        for reader in readers:
            found = reader.summary(folder, columns)
            assert found.keys() == wanted.keys(), f"{found.keys() ^ wanted.keys()}"
            differ = [key for key in wanted if wanted[key] != found[key]]
            wrong += [f"{table}: {type(reader).__name__}: {key}: {found[key]}, cold {wanted[key]}" for key in differ]
        tables.discard(table)
        print(f"{table}: {wanted['rows']} rows, {len(wanted) - 1} sums compared")
    # What cold holds without an archive has not come the whole road.
    for table in sorted(tables):
        count = int(cold.query(f"SELECT count() FROM `{table}`")[0][0])
        if count:
            wrong.append(f"{table}: {count} rows in cold, none in the archive")
    if not rows:
        wrong.append("there is no row to compare")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
