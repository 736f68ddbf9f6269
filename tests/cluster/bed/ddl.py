"""Statements ON CLUSTER: a queue in a folder that all replicas share, as a server keeps one in Keeper.

Each replica runs the entries in their order, once; a replica that was down runs the entries that it missed when it starts. The replica that was
asked waits for the others as `distributed_ddl_output_mode` and `distributed_ddl_task_timeout` say.
"""

import fcntl
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .engine import DatabaseError, Engine

# A server's default is 180 s; a test that lets a replica be down wants its answer sooner.
TASK_TIMEOUT_SECONDS = 10.0
UNFINISHED = 159
POLL_SECONDS = 0.03
# Settings that are about the queue and not about what the statement does.
OWN_SETTINGS = ("distributed_ddl_output_mode", "distributed_ddl_task_timeout")


@dataclass
class Wait:
    """How long to wait for the other replicas, and whether an inactive one is an error."""

    seconds: float
    only_active: bool
    throw: bool

    @classmethod
    def of(cls, settings: dict[str, str]) -> "Wait":
        mode = settings.get("distributed_ddl_output_mode", "throw")
        seconds = float(settings.get("distributed_ddl_task_timeout", TASK_TIMEOUT_SECONDS))
        return cls(seconds, mode.endswith("_only_active"), not mode.startswith("null_status_on_timeout"))


class Queue:
    """One replica's view of the shared queue."""

    def __init__(self, shared: Path, own: Path, engine: Engine):
        self._shared, self._engine = shared, engine
        self._done_file = own / "ddl-done"
        self._running = threading.Lock()
        # The outcome of each entry that this process ran: None, or the exception's text.
        self._outcomes: dict[int, str | None] = {}
        shared.mkdir(exist_ok=True)

    def append(self, sql: str, database: str | None, settings: dict[str, str]) -> int:
        """Adds a statement; returns its number."""
        settings = {name: value for name, value in settings.items() if name not in OWN_SETTINGS}
        with (self._shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = self._last() + 1
            new = self._shared / "new"
            new.write_text(json.dumps({"sql": sql, "database": database, "settings": settings}))
            new.rename(self._shared / f"{number:06}.json")
        return number

    def _last(self) -> int:
        return max((int(path.stem) for path in self._shared.glob("*.json")), default=0)

    def run(self, through: int | None = None) -> None:
        """Runs the entries that this replica has not run yet."""
        with self._running:
            done = int(self._done_file.read_text()) if self._done_file.is_file() else 0
            for number in range(done + 1, (through or self._last()) + 1):
                entry = json.loads((self._shared / f"{number:06}.json").read_text())
                self._outcomes[number] = self._run_one(entry)
                new = self._done_file.with_suffix(".new")
                new.write_text(str(number))
                new.rename(self._done_file)

    def _run_one(self, entry: dict) -> str | None:
        try:
            with self._engine.session() as session:
                prepare(session, entry["database"], entry["settings"])
                session.query(entry["sql"].encode())
            return None
        except DatabaseError as e:
            return e.text

    def outcome(self, number: int) -> str | None:
        """Returns the exception's text of an entry that this replica has run, or nothing."""
        return self._outcomes.get(number)


def prepare(session, database: str | None, settings: dict[str, str]) -> None:
    """Sets database and settings of a request on its connection."""

    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    if database:
        session.query(f"USE `{database}`".encode())
    if settings:
        session.query(("SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())).encode())


def wait_for(number: int, others: dict[str, callable], wait: Wait) -> None:
    """Waits until every other replica has run an entry. `others` asks each: its exception's text or None; ConnectionError if it is down."""
    deadline = time.monotonic() + wait.seconds
    for name, ask in others.items():
        while True:
            try:
                error = ask(number)
            except ConnectionError:
                if wait.only_active:
                    break
                if time.monotonic() > deadline:
                    if not wait.throw:
                        break
                    text = f"Distributed DDL task query-{number:010} is not finished on 1 of {len(others) + 1} hosts ({name} is not active). (TIMEOUT_EXCEEDED)"
                    raise DatabaseError(text, code=UNFINISHED) from None
                time.sleep(POLL_SECONDS)
                continue
            if error is not None:
                raise DatabaseError(f"There was an error on [{name}]: {error}", code=DatabaseError(error).code)
            break
