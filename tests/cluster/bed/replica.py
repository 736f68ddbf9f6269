"""A replica: one process with an engine, an HTTP front for clients, and the interserver endpoint for the other replica.

    python -m bed.replica CONFIGURATION.json

Prints one line when it is ready. The front speaks as much of ClickHouse's HTTP interface as `mpsync` uses, uncompressed. Beside it,
for the tests: `POST /bed/serve?parts=0` refuses parts to the other replica, which lags from then on; `parts=1` ends that.
"""

import contextlib
import itertools
import json
import os
import re
import select
import socket
import sys
import threading
import uuid
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from . import ddl, parts, statement
from .engine import Answer, DatabaseError, Engine

# Held back before the headers go out: a query that fails within it is answered with a status.
HELD_BACK_BYTES = 1 << 20
READ_BYTES = 256 << 10
NO_SUCH_PART, KEEPER_EXCEPTION, CONNECTIONS_FAILED, NOT_IMPLEMENTED = 232, 999, 279, 48
NOT_FOUND_CODES, AUTHENTICATION_CODES = {60, 81}, {193, 194, 516}
# Names in the query string that are of the interface, not settings of the engine.
OF_THE_INTERFACE = {
    *("query", "database", "query_id", "default_format", "user", "password", "wait_end_of_query", "session_id", "quota_key", "role"),
    *("client_protocol_version", "send_progress_in_http_headers", "http_write_exception_in_output_format", "enable_http_compression"),
    *("buffer_size", "http_headers_progress_interval_ms", "stacktrace", "add_http_cors_header", "compress", "decompress"),
}


class Replica:
    """The state that the handlers share."""

    def __init__(self, configuration: dict):
        self.name: str = configuration["name"]
        self.folder = Path(configuration["folder"])
        self.keeper_port: int = configuration["keeper_port"]
        # The other replicas' fronts, by their names.
        self.others: dict[str, int] = configuration["others"]
        self.serves_parts = True
        self.data = self.folder / "data"
        self.pipes = self.folder / "pipes"
        self.pipes.mkdir(exist_ok=True)
        for stale in self.pipes.iterdir():
            stale.unlink()
        self.engine = Engine(
            Path(configuration["library"]),
            [f"--path={self.data}", f"--config-file={configuration['config_file']}"],
            "127.0.0.1",
            configuration["interserver_port"],
            uuid.UUID(configuration["server_uuid"]).bytes,
        )
        self.queue = ddl.Queue(Path(configuration["ddl_folder"]), self.folder, self.engine)

    def check_keeper(self) -> None:
        """Fails as a statement on a cluster does without Keeper."""
        try:
            socket.create_connection(("127.0.0.1", self.keeper_port), timeout=1).close()
        except OSError:
            raise DatabaseError("Coordination error: Connection loss. (KEEPER_EXCEPTION)", code=KEEPER_EXCEPTION) from None

    def check_others(self) -> None:
        """Fails as a question to all replicas does while one is down."""
        for name, port in self.others.items():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                text = f"All connection tries failed: {name} is not there. (ALL_CONNECTION_TRIES_FAILED)"
                raise DatabaseError(text, code=CONNECTIONS_FAILED) from None

    def on_cluster(self, sql: str, database: str | None, settings: dict[str, str]) -> None:
        """Runs a statement on every replica."""
        self.check_keeper()
        wait = ddl.Wait.of(settings)
        number = self.queue.append(sql, database, settings)
        self.queue.run(number)
        if (error := self.queue.outcome(number)) is not None:
            raise DatabaseError(error)
        asks = {name: lambda n, port=port: ask_other(port, n, wait.seconds) for name, port in self.others.items()}
        ddl.wait_for(number, asks, wait)


def ask_other(port: int, number: int, seconds: float) -> str | None:
    """Lets another replica run the queue; returns the exception's text, or None."""
    connection = HTTPConnection("127.0.0.1", port, timeout=max(1.0, seconds))
    try:
        connection.request("POST", f"/bed/ddl?through={number}")
        return json.loads(connection.getresponse().read())["error"]
    except (OSError, ValueError, KeyError) as e:
        raise ConnectionError(str(e)) from e
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    """The base of the front and of the interserver endpoint."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    replica: Replica

    def log_message(self, *_):
        """Logs nothing."""

    def body(self) -> bytes:
        """Reads the whole request body. A body that breaks off is a ConnectionError, and nothing of it was used."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            pieces = []
            while True:
                line = self.rfile.readline(1 << 16)
                if not line.endswith(b"\n"):
                    raise ConnectionError("the body breaks off")
                size = int(line.split(b";")[0], 16)
                piece = self.rfile.read(size + 2)
                if len(piece) != size + 2:
                    raise ConnectionError("the body breaks off")
                if size == 0:
                    return b"".join(pieces)
                pieces.append(piece[:-2])
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        if len(data) != length:
            raise ConnectionError("the body breaks off")
        return data

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, error: DatabaseError) -> None:
        status = 404 if error.code in NOT_FOUND_CODES else 403 if error.code in AUTHENTICATION_CODES else 500
        text = f"{error.text} (version 26.7.2.1 (cluster bed))\n"
        self.answer(status, text.encode(), {"X-ClickHouse-Exception-Code": str(error.code), "Content-Type": "text/plain; charset=UTF-8"})


class Front(Handler):
    """The HTTP interface for clients."""

    def do_GET(self):
        """Answers /ping and queries that change nothing."""
        self.serve()

    do_POST = do_HEAD = do_GET

    def serve(self) -> None:
        try:
            self.route()
        except DatabaseError as e:
            self.refuse(e)
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def route(self) -> None:
        url = urlsplit(self.path)
        fields = dict(parse_qsl(url.query, keep_blank_values=True))
        body = self.body()
        if self.command == "HEAD":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif url.path in ("/ping", "/replicas_status") or (url.path == "/" and not url.query and self.command == "GET"):
            self.answer(200, b"Ok.\n")
        elif url.path == "/bed/serve":
            self.replica.serves_parts = fields["parts"] == "1"
            self.answer(200, b"")
        elif url.path == "/bed/ddl":
            number = int(fields["through"])
            self.replica.queue.run(number)
            self.answer(200, json.dumps({"error": self.replica.queue.outcome(number)}).encode())
        elif url.path in ("/", "/query"):
            self.query(fields, body)
        else:
            self.answer(404, b"There is no such handler\n")

    def query(self, fields: dict[str, str], body: bytes) -> None:
        if fields.get("decompress") == "1" or self.headers.get("Content-Encoding"):
            raise DatabaseError("the cluster bed takes no compressed bodies: set `compression: none`. (NOT_IMPLEMENTED)", code=NOT_IMPLEMENTED)
        if (boundary := re.search(r'multipart/form-data;.*boundary="?([^";]+)', self.headers.get("Content-Type", ""))) is not None:
            fields |= form(body, boundary.group(1).encode())
            body = b""
        sql, database = fields.get("query", ""), fields.get("database") or self.headers.get("X-ClickHouse-Database")
        parameters = {name.removeprefix("param_"): value for name, value in fields.items() if name.startswith("param_")}
        settings = {name: value for name, value in fields.items() if name not in OF_THE_INTERFACE and not name.startswith("param_")}
        self.query_id = fields.get("query_id") or str(uuid.uuid4())
        if (insert := statement.insert_format(sql)) is not None:
            with self.replica.engine.session() as session:
                ddl.prepare(session, database, settings)
                pieces = (body[at : at + READ_BYTES] for at in range(0, len(body), READ_BYTES))
                self.whole(session.insert(insert[0].encode(), insert[1], pieces, parameters), insert[1])
            return
        sql = "\n".join(filter(None, [sql, body.decode("utf-8", "surrogateescape")]))
        output_format = fields.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        if (clustered := statement.without_cluster(sql)) is not None:
            self.replica.on_cluster(clustered[0], database, settings)
            self.whole(Answer(), output_format)
            return
        if statement.names_all_replicas(sql):
            self.replica.check_others()
            sql = statement.all_replicas(sql, [f"http://127.0.0.1:{port}" for port in self.replica.others.values()])
        with self.replica.engine.session() as session:
            ddl.prepare(session, database, settings)
            if (selected := statement.select(sql)) is not None:
                self.stream(session, selected, selected.output_format or output_format, parameters)
            else:
                text = sql.encode("utf-8", "surrogateescape")
                self.whole(session.query(text, output_format, parameters), output_format)

    def heading(self, output_format: str, counts: dict[str, int]) -> dict[str, str]:
        summary = {name: str(value) for name, value in counts.items()}
        return {
            "X-ClickHouse-Query-Id": self.query_id,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Format": output_format,
            "X-ClickHouse-Server-Display-Name": self.replica.name,
            "X-ClickHouse-Summary": json.dumps(summary, separators=(",", ":")),
        }

    def whole(self, answer: Answer, output_format: str) -> None:
        self.answer(200, answer.body, self.heading(output_format, answer.counts))

    def stream(self, session, selected: statement.Select, output_format: str, parameters: dict[str, str]) -> None:
        """Answers a SELECT of any size: the engine writes one document into a pipe, which is relayed to the connection."""
        pipe = self.replica.pipes / uuid.uuid4().hex
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        # Held while the query runs, so that the pipe does not end before the engine has opened it.
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        outcome: list = []

        def run() -> None:
            nonlocal writer
            text = f"{selected.head}\nINTO OUTFILE '{pipe}' APPEND FORMAT {output_format}{selected.tail}"
            try:
                outcome.append(session.query(text.encode("utf-8", "surrogateescape"), output_format, parameters))
            except DatabaseError as e:
                e.text = e.text.replace(f"\nINTO OUTFILE '{pipe}' APPEND FORMAT {output_format}", "")
                outcome.append(e)
            finally:
                os.close(writer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            self.relay(reader, thread, outcome, output_format)
        finally:
            # If the client has disconnected, the query runs to its end, as on a server; its output is discarded.
            while read(reader):
                pass
            thread.join()
            os.close(reader)
            pipe.unlink()

    def relay(self, reader: int, thread: threading.Thread, outcome: list, output_format: str) -> None:
        held = bytearray()
        while len(held) < HELD_BACK_BYTES:
            piece = read(reader)
            if not piece:
                thread.join()
                if isinstance(outcome[0], DatabaseError):
                    raise outcome[0]
                self.whole(Answer(bytes(held), outcome[0].counts), output_format)
                return
            held += piece
        tag = uuid.uuid4().hex[:16]
        self.send_response(200)
        for name, value in (self.heading(output_format, {}) | {"X-ClickHouse-Exception-Tag": tag, "Transfer-Encoding": "chunked"}).items():
            self.send_header(name, value)
        self.end_headers()
        piece = bytes(held)
        while piece:
            self.chunk(piece)
            piece = read(reader)
        thread.join()
        if isinstance(outcome[0], DatabaseError):
            message = outcome[0].text + "\n"
            self.chunk(f"\r\n__exception__\r\n{tag}\r\n{message}{len(message)} {tag}\r\n__exception__\r\n".encode())
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))


def read(reader: int) -> bytes:
    """Reads what comes next out of a pipe; nothing at its end."""
    while True:
        try:
            return os.read(reader, READ_BYTES)
        except BlockingIOError:
            select.select([reader], [], [])


def form(body: bytes, boundary: bytes) -> dict[str, str]:
    """Returns the fields of a multipart/form-data body."""
    fields = {}
    for part in body.split(b"--" + boundary)[1:]:
        head, separator, value = part.partition(b"\r\n\r\n")
        if separator and (name := re.search(rb'name="([^"]+)"', head)):
            fields[name.group(1).decode()] = value.removesuffix(b"\r\n").decode()
    return fields


class Interserver(Handler):
    """The endpoint that the other replica fetches parts from."""

    def do_POST(self):
        """Sends a part, or refuses it."""
        self.body()
        fields = dict(parse_qsl(urlsplit(self.path).query))
        try:
            if not self.replica.serves_parts:
                raise parts.NoSuchPart("parts are not served now")
            table = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", fields["endpoint"])
            if table is None:
                raise parts.NoSuchPart("only tables with {uuid} in their path are served")
            pieces = parts.send(parts.part_folder(self.replica.data, table.group(0), fields["part"]))
            first = next(pieces)
        except parts.NoSuchPart as e:
            self.refuse(DatabaseError(f"{e}. (NO_SUCH_DATA_PART)", code=NO_SUCH_PART))
            return
        self.send_response(200)
        self.send_header("Set-Cookie", f"server_protocol_version={parts.PROTOCOL}")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            for piece in itertools.chain([first], pieces):
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")


def server(port: int, handler: type, replica: Replica) -> ThreadingHTTPServer:
    """Listens on loopback and answers in threads."""
    bound = type(handler.__name__, (handler,), {"replica": replica})
    listening = ThreadingHTTPServer(("127.0.0.1", port), bound)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    return listening


def main() -> None:
    """Runs a replica until its standard input ends or it is killed."""
    configuration = json.loads(Path(sys.argv[1]).read_text())
    replica = Replica(configuration)
    server(configuration["interserver_port"], Interserver, replica)
    # The entries that this replica missed while it was down, before it accepts requests.
    replica.queue.run()
    server(configuration["port"], Front, replica)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
