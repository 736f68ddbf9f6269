"""The ClickHouse engine in this process: `libchdb` through ctypes, and only as much of it as the bed needs."""

import ctypes
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import patch


class DatabaseError(Exception):
    """An exception of the engine, or one in its form: `Code: N. DB::Exception: …`."""

    def __init__(self, text: str, code: int | None = None):
        if code is not None:
            text = f"Code: {code}. DB::Exception: {text}"
        super().__init__(text)
        found = re.search(r"Code: (\d+)", text)
        self.code = int(found.group(1)) if found else 1002
        self.text = text.split("Stack trace:")[0].rstrip()


@dataclass
class Answer:
    """The result of a statement, and how much it read and wrote."""

    body: bytes = b""
    counts: dict[str, int] = field(default_factory=dict)


_COUNTERS = {
    "read_rows": "chdb_result_storage_rows_read",
    "read_bytes": "chdb_result_storage_bytes_read",
    "result_rows": "chdb_result_rows_read",
    "result_bytes": "chdb_result_bytes_read",
    "written_rows": "chdb_result_rows_written",
    "written_bytes": "chdb_result_bytes_written",
}


class Engine:
    """One engine; the library allows one a process."""

    def __init__(self, library: Path, arguments: list[str], host: str, interserver_port: int, server_uuid: bytes):
        self._c = ctypes.CDLL(str(library))
        self._declare()
        self._c.chdb_set_signal_handlers_enabled(0)
        patch.apply(library, host, interserver_port, server_uuid)
        self._arguments = [a.encode() for a in ["clickhouse", *arguments]]
        self._connecting = threading.Lock()
        # Keeps the engine up while no request runs.
        self._keeper = self._connect()

    def _declare(self) -> None:
        c, pointer, text, size = self._c, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        texts, sizes = ctypes.POINTER(text), ctypes.POINTER(size)
        statement = [pointer, text, size, text, size, texts, sizes, texts, sizes, size]
        signatures = {
            "chdb_set_signal_handlers_enabled": (None, [ctypes.c_int]),
            "chdb_connect": (ctypes.POINTER(pointer), [ctypes.c_int, texts]),
            "chdb_close_conn": (None, [ctypes.POINTER(pointer)]),
            "chdb_query_with_params_n": (pointer, statement),
            "chdb_stream_insert_with_params_n": (pointer, statement),
            "chdb_stream_append": (ctypes.c_int, [pointer, text, size]),
            "chdb_stream_done": (pointer, [pointer]),
            "chdb_stream_cancel_insert": (None, [pointer]),
            "chdb_stream_insert_error": (text, [pointer]),
            "chdb_destroy_insert_stream": (None, [pointer]),
            "chdb_result_buffer": (pointer, [pointer]),
            "chdb_result_length": (size, [pointer]),
            "chdb_result_error": (text, [pointer]),
            "chdb_destroy_query_result": (None, [pointer]),
        }
        signatures |= {name: (ctypes.c_uint64, [pointer]) for name in _COUNTERS.values()}
        for name, (result, arguments) in signatures.items():
            function = getattr(c, name)
            function.restype, function.argtypes = result, arguments

    def _connect(self):
        pointers = (ctypes.c_char_p * len(self._arguments))(*self._arguments)
        with self._connecting:
            handle = self._c.chdb_connect(len(self._arguments), pointers)
        if not handle or not handle[0]:
            raise DatabaseError("the engine refused a connection; its reason is on stderr", code=1002)
        return handle

    @contextmanager
    def session(self):
        """A connection of its own: settings and current database end with it."""
        handle = self._connect()
        try:
            yield Session(self._c, handle)
        finally:
            self._c.chdb_close_conn(handle)


class Session:
    """A connection. Used by one thread at a time."""

    def __init__(self, library, handle):
        self._c, self._handle = library, handle

    def query(self, sql: bytes, output_format: str = "Null", parameters: dict[str, str] | None = None) -> Answer:
        """Runs a statement to its end."""
        return self._take(self._call(self._c.chdb_query_with_params_n, sql, output_format, parameters))

    def insert(self, sql: bytes, input_format: str, pieces, parameters: dict[str, str] | None = None) -> Answer:
        """Runs an INSERT whose data are the pieces; `sql` names table and columns, without FORMAT or VALUES."""
        stream = self._call(self._c.chdb_stream_insert_with_params_n, sql, input_format, parameters)
        finished = False
        try:
            self._check(stream)
            for piece in pieces:
                if self._c.chdb_stream_append(stream, piece, len(piece)) != 0:
                    self._check(stream)
                    finished = True
                    self._take(self._c.chdb_stream_done(stream))
                    raise DatabaseError("the engine refused data without a reason", code=1002)
            finished = True
            return self._take(self._c.chdb_stream_done(stream))
        finally:
            if not finished:
                self._c.chdb_stream_cancel_insert(stream)
            self._c.chdb_destroy_insert_stream(stream)

    def _check(self, stream) -> None:
        if error := self._c.chdb_stream_insert_error(stream):
            raise DatabaseError(error.decode(errors="replace"))

    def _call(self, function, sql: bytes, name: str, parameters: dict[str, str] | None):
        pairs = [(k.encode(), v.encode()) for k, v in (parameters or {}).items()]
        count = len(pairs)
        names = (ctypes.c_char_p * count)(*(k for k, _ in pairs))
        values = (ctypes.c_char_p * count)(*(v for _, v in pairs))
        name_sizes = (ctypes.c_size_t * count)(*(len(k) for k, _ in pairs))
        value_sizes = (ctypes.c_size_t * count)(*(len(v) for _, v in pairs))
        called = name.encode()
        return function(self._handle[0], sql, len(sql), called, len(called), names, name_sizes, values, value_sizes, count)

    def _take(self, result) -> Answer:
        if not result:
            raise DatabaseError("the engine gave no result", code=1002)
        try:
            if error := self._c.chdb_result_error(result):
                raise DatabaseError(error.decode(errors="replace"))
            buffer, length = self._c.chdb_result_buffer(result), self._c.chdb_result_length(result)
            body = ctypes.string_at(buffer, length) if buffer and length else b""
            return Answer(body, {name: getattr(self._c, function)(result) for name, function in _COUNTERS.items()})
        finally:
            self._c.chdb_destroy_query_result(result)
