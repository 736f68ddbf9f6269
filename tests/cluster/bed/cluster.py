"""The whole bed: a ZooKeeper and two replicas, each a process that can be killed and restarted."""

import atexit
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from http.client import HTTPConnection, HTTPException, IncompleteRead
from pathlib import Path
from urllib.parse import urlencode

from . import patch
from .engine import DatabaseError
from .zookeeper import ZooKeeper

NAME = "bed"
START_SECONDS = 60
# Below Linux' range for outgoing connections, so that no client's socket takes the port of a process that is being restarted.
PORTS = range(15000, 32000)

# The config.xml of a server. The intervals are short, so that tests do not wait for timers.
CONFIG = """<clickhouse>
  <logger><level>warning</level><log>{folder}/engine.log</log><errorlog>{folder}/engine.err.log</errorlog></logger>
  <zookeeper>
    <node><host>127.0.0.1</host><port>{keeper_port}</port></node>
    <session_timeout_ms>3000</session_timeout_ms>
    <operation_timeout_ms>2000</operation_timeout_ms>
  </zookeeper>
  <macros><cluster>{cluster}</cluster><shard>01</shard><replica>{name}</replica></macros>
  <remote_servers><{cluster}><shard><internal_replication>true</internal_replication>{hosts}</shard></{cluster}></remote_servers>
  <default_replica_path>/clickhouse/tables/{{uuid}}/{{shard}}</default_replica_path>
  <default_replica_name>{{replica}}</default_replica_name>
  <merge_tree>
    <max_postpone_time_for_failed_replicated_fetches_ms>200</max_postpone_time_for_failed_replicated_fetches_ms>
    <max_postpone_time_for_failed_replicated_tasks_ms>200</max_postpone_time_for_failed_replicated_tasks_ms>
    <max_postpone_time_for_failed_replicated_merges_ms>200</max_postpone_time_for_failed_replicated_merges_ms>
    <zookeeper_session_expiration_check_period>1</zookeeper_session_expiration_check_period>
    <cleanup_delay_period>1</cleanup_delay_period>
  </merge_tree>
</clickhouse>
"""


def free_ports(count: int) -> list[int]:
    """Returns free ports."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


class Node:
    """One replica, from outside."""

    def __init__(self, name: str, folder: Path, port: int, interserver_port: int):
        self.name, self.folder, self.port, self.interserver_port = name, folder, port, interserver_port
        self.configuration = folder / "replica.json"
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """The address of its HTTP front."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        """Returns whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, wait: bool = True) -> None:
        """Starts it; with `wait`, until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bed.replica", str(self.configuration)],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Waits until it answers."""
        line = self._process.stdout.readline()
        if line != b"ready\n":
            self._process.wait()
            raise RuntimeError(f"{self.name} did not start:\n{(self.folder / 'log').read_text()[-4000:]}")

    def kill(self) -> None:
        """Ends it at once with SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def query(self, sql: str, data: bytes | None = None, timeout: float = 120, **fields: str) -> str:
        """Runs a statement; returns the answer's text without the last line end. With `data`, the statement is an INSERT … FORMAT."""
        body = sql.encode() if data is None else data
        if data is not None:
            fields["query"] = sql
        status, answer = self._post("/?" + urlencode(fields), body, timeout)
        text = answer.decode("utf-8", "replace")
        if status != 200 or "\r\n__exception__\r\n" in text:
            raise DatabaseError(text.strip())
        return text.rstrip("\n")

    def _post(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, body)
            response = connection.getresponse()
            try:
                return response.status, response.read()
            except IncompleteRead as e:
                # A query that fails while its result is sent ends in the exception's text and a broken connection.
                if b"\r\n__exception__\r\n" in e.partial:
                    return response.status, e.partial
                raise
        except (OSError, HTTPException) as e:
            raise ConnectionError(f"{self.name}: {e}") from e
        finally:
            connection.close()

    def serve_parts(self, serve: bool) -> None:
        """Sets whether the other replica can fetch parts from this one."""
        self._post(f"/bed/serve?parts={int(serve)}", b"", 10)


class Cluster:
    """Two replicas over one ZooKeeper, in a folder that is removed at the end."""

    def __init__(self, library: Path):
        patch.check_build(library)
        self.folder = Path(tempfile.mkdtemp(prefix="mpsync-cluster-"))
        atexit.register(self.stop)
        keeper_port, *ports = free_ports(5)
        self.keeper = ZooKeeper(self.folder / "keeper", keeper_port)
        self.nodes = [Node(f"r{n + 1}", self.folder / f"r{n + 1}", *ports[2 * n : 2 * n + 2]) for n in range(2)]
        hosts = "".join(f"<replica><host>127.0.0.1</host><port>{node.port}</port></replica>" for node in self.nodes)
        for node in self.nodes:
            node.folder.mkdir()
            (node.folder / "config.xml").write_text(
                CONFIG.format(folder=node.folder, keeper_port=keeper_port, cluster=NAME, name=node.name, hosts=hosts)
            )
            node.configuration.write_text(
                json.dumps(
                    {
                        "name": node.name,
                        "folder": str(node.folder),
                        "library": str(library),
                        "config_file": str(node.folder / "config.xml"),
                        "port": node.port,
                        "interserver_port": node.interserver_port,
                        "keeper_port": keeper_port,
                        "others": {other.name: other.port for other in self.nodes if other is not node},
                        "server_uuid": str(uuid.uuid4()),
                        "ddl_folder": str(self.folder / "ddl"),
                    }
                )
            )

    def start(self) -> "Cluster":
        """Starts everything."""
        self.keeper.start()
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        return self

    def stop(self) -> None:
        """Ends everything and removes the folder; with MPSYNC_CLUSTER_KEEP=1 the folder stays."""
        atexit.unregister(self.stop)
        for process in [*self.nodes, self.keeper]:
            process.kill()
        if os.environ.get("MPSYNC_CLUSTER_KEEP") == "1":
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def other(self, node: Node) -> Node:
        """The other replica."""
        return self.nodes[1 - self.nodes.index(node)]

    def lag(self, node: Node, lagging: bool = True) -> None:
        """Begins or ends lag: a lagging replica reads the log and cannot fetch parts."""
        self.other(node).serve_parts(not lagging)

    def heal(self) -> None:
        """Starts the servers that are down, and ends lag."""
        if self.keeper.pid is None:
            self.keeper.start()
        for node in self.nodes:
            if not node.runs:
                node.kill()
                node.start()
            node.serve_parts(True)

    def sync(self, table: str, seconds: float = 60) -> None:
        """Waits until both replicas of a table have executed the whole log."""
        deadline = time.monotonic() + seconds
        for node in self.nodes:
            while True:
                try:
                    node.query(f"SYSTEM SYNC REPLICA {table}", receive_timeout="20")
                    break
                except DatabaseError as e:
                    # After a lost session a replica is read-only until it has a new one.
                    if time.monotonic() > deadline or not re.search(r"KEEPER|READ_ONLY|session|TIMEOUT", e.text):
                        raise
                    time.sleep(0.1)
