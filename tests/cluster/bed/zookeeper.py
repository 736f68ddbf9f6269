"""A ZooKeeper of Debian's packages on a free loopback port."""

import signal
import socket
import subprocess
import time
from pathlib import Path

JARS = Path("/usr/share/java")
START_SECONDS = 60


class ZooKeeper:
    """One server. It keeps port and data over a stop and a start."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.port = folder, port
        self._process: subprocess.Popen | None = None
        (folder / "data").mkdir(parents=True)
        # A tick of 250 ms allows sessions of 0.5 to 60 s.
        (folder / "zoo.cfg").write_text(
            f"tickTime=250\nmaxSessionTimeout=60000\ndataDir={folder}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
            "admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=ruok\nforceSync=yes\n"
        )

    def start(self) -> None:
        """Starts it and waits until it answers."""
        jars = [JARS / name for name in ("zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-simple.jar", "commons-cli.jar")]
        classpath = ":".join(str(jar) for jar in [*jars, *sorted(JARS.glob("log4j*.jar"))])
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath]
                + ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self.folder / "zoo.cfg")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"ZooKeeper did not start:\n{(self.folder / 'log').read_text()[-4000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"ruok")
                return connection.recv(4) == b"imok"
        except OSError:
            return False

    def kill(self) -> None:
        """Ends it at once; what it acknowledged is in its log on disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        return self._process.pid if self._process else None
