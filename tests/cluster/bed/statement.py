"""The parts of ClickHouse's syntax that the HTTP front needs: INSERT with data, SELECT, ON CLUSTER, clusterAllReplicas."""

import re
import uuid
from dataclasses import dataclass
from urllib.parse import quote

_NAME = r"(?:`(?:[^`\\]|\\.)+`|\"(?:[^\"\\]|\\.)+\"|'(?:[^'\\]|\\.)+'|\w+)"
_BLANK = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_FIRST_WORD = re.compile(rf"{_BLANK}(?:\({_BLANK})*(\w+)", re.S)
_INSERT_FORMAT = re.compile(r"\sFORMAT\s+(\w+)\s*;?\s*$", re.I)
_FORMAT = re.compile(r"\sFORMAT\s+(\w+)(\s+SETTINGS\s.*)?\s*;?\s*$", re.I | re.S)
_ON_CLUSTER = re.compile(rf"\s+ON\s+CLUSTER\s+({_NAME})", re.I)
_ALL_REPLICAS = re.compile(rf"\bclusterAllReplicas\s*\(\s*({_NAME})\s*,\s*((?:{_NAME}\s*\.\s*)?{_NAME})\s*\)", re.I)
_CREATE = re.compile(rf"{_BLANK}(?:CREATE|ATTACH)\s+(?:OR\s+REPLACE\s+)?(?:TABLE|MATERIALIZED\s+VIEW)\b", re.I | re.S)
_DDL = {"CREATE", "ATTACH", "DROP", "DETACH", "ALTER", "TRUNCATE", "RENAME", "EXCHANGE", "OPTIMIZE", "KILL", "SYSTEM", "GRANT", "REVOKE"}


@dataclass
class Select:
    """A statement whose result may be of any size."""

    head: str
    output_format: str | None
    tail: str


def first_word(sql: str) -> str:
    """Returns the statement's first word in capitals."""
    found = _FIRST_WORD.match(sql)
    return found.group(1).upper() if found else ""


def insert_format(sql: str) -> tuple[str, str] | None:
    """Cuts `INSERT … FORMAT X`, whose data is the request's body, into what stands before FORMAT, and X."""
    if first_word(sql) != "INSERT":
        return None
    found = _INSERT_FORMAT.search(sql)
    return (sql[: found.start()], found.group(1)) if found else None


def select(sql: str) -> Select | None:
    """Cuts a SELECT at its FORMAT clause."""
    if first_word(sql) not in ("SELECT", "WITH"):
        return None
    found = _FORMAT.search(sql)
    if found:
        return Select(sql[: found.start()], found.group(1), found.group(2) or "")
    return Select(sql.rstrip().removesuffix(";"), None, "")


def without_cluster(sql: str) -> tuple[str, str] | None:
    """Takes ON CLUSTER out of a statement, and gives a table that it creates the same UUID on every replica, as a server's DDL
    worker would. Returns the statement and the cluster, or nothing if no cluster is named."""
    if first_word(sql) not in _DDL:
        return None
    found = _ON_CLUSTER.search(sql)
    if not found:
        return None
    own = f" UUID '{uuid.uuid4()}'" if _CREATE.match(sql) else ""
    return sql[: found.start()] + own + sql[found.end() :], found.group(1).strip("`'\"")


def all_replicas(sql: str, others: list[str]) -> str:
    """Replaces `clusterAllReplicas(cluster, table)`, which needs the native protocol, by what this engine has, followed by what the
    others answer over HTTP."""
    def table(found: re.Match) -> str:
        name = found.group(2)
        text = quote(f"SELECT * FROM {name}", safe="")
        parts = [f"SELECT * FROM {name}"]
        parts += [f"SELECT * FROM url('{other}/?query={text}&default_format=Native', Native)" for other in others]
        return f"({' UNION ALL '.join(parts)})"

    return _ALL_REPLICAS.sub(table, sql)


def names_all_replicas(sql: str) -> bool:
    """Returns whether a statement contains clusterAllReplicas."""
    return bool(_ALL_REPLICAS.search(sql))
