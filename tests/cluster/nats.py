"""A nats-server with JetStream on disk, on a free loopback port."""

import atexit
import json
import os
import socket
import subprocess
import tempfile
import time

from bed.cluster import free_ports


class Nats:
    """One server; it ends with `stop`."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mpsync-nats-")
        (self.port,) = free_ports(1)
        self._process = subprocess.Popen(
            [os.environ["MPSYNC_NATS_SERVER"], "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self._folder.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.stop)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.request("$JS.API.INFO")
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def request(self, subject: str, payload: bytes = b"") -> dict:
        """Asks JetStream's API."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            lines = connection.makefile("rb")
            connection.sendall(b'CONNECT {"verbose":false}\r\nSUB answer 1\r\n')
            connection.sendall(b"PUB %b answer %d\r\n%b\r\n" % (subject.encode(), len(payload), payload))
            while line := lines.readline():
                if line == b"PING\r\n":
                    connection.sendall(b"PONG\r\n")
                elif line.startswith(b"MSG "):
                    return json.loads(lines.read(int(line.split()[-1])))
                elif line.startswith(b"-ERR"):
                    raise OSError(line.decode())
        raise OSError("nats-server closed the connection")

    def messages(self, stream: str) -> int:
        """How many messages a stream holds."""
        return self.request(f"$JS.API.STREAM.INFO.{stream}")["state"]["messages"]

    def delete_consumers(self, stream: str) -> int:
        """Deletes a stream's consumers, as an operator may: ingest then begins at the first message. Returns how many."""
        names = self.request(f"$JS.API.CONSUMER.NAMES.{stream}")["consumers"] or []
        for name in names:
            self.request(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
        return len(names)
