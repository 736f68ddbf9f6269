"""Whether documents, alert rules and dashboard are true to the program and to each other. Called by `run`."""

import json
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import yaml

MPSYNC, ROOT = sys.argv[1], Path(sys.argv[2])
FOUND: list[str] = []


def bad(what):
    FOUND.append(what)


def documents():
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, check=True).stdout
    return sorted(ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).exists())


def anchor(heading):
    """As GitHub makes it."""
    text = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def fences(text):
    """Fenced blocks as (language, text)."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.M | re.S)


@cache
def anchors(path):
    prose = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.M | re.S)
    return {anchor(h) for h in re.findall(r"^#{1,6} +(.*)$", prose, re.M)}


def links():
    count = 0
    for path in documents():
        prose = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", prose):
            link = link[0] or link[1]
            if re.match(r"[a-z]+:", link):
                continue
            count += 1
            name, _, place = link.partition("#")
            to = (path.parent / name).resolve() if name else path
            if not to.exists():
                bad(f"{path.relative_to(ROOT)}: the link {link} leads nowhere")
            elif place and to.suffix == ".md" and place not in anchors(to):
                bad(f"{path.relative_to(ROOT)}: {link}: there is no such section")
    return f"{count} links"


@cache
def help_of(words):
    run = subprocess.run([MPSYNC, *words, "--help"], capture_output=True, text=True)
    return run.stdout if run.returncode == 0 else None


def subcommands(text):
    listed = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^  (\w[\w-]*)", listed, re.M))


def command(path, line):
    """One `mpsync …` as it stands in a document: its verbs and its flags must be there."""
    words = line.split()[1:]
    verbs, rest, skip = [], [], False
    flags = re.compile(r"-")
    text = help_of(())
    for word in words:
        if skip:
            skip = False
            continue
        if flags.match(word):
            rest.append(word)
            skip = word in ("--config", "-c", "--output", "--log")
            continue
        for verb in word.split("|") if not verbs else [word]:
            if verb in subcommands(text):
                verbs.append(verb)
                text = help_of(tuple(verbs)) or ""
                break
            if not verbs:
                bad(f"{path.relative_to(ROOT)}: `{line}`: there is no command {verb}")
                return
    for flag in rest:
        flag = re.match(r"--?[\w-]*", flag).group()
        if flag in ("-", "--"):
            continue
        if not re.search(rf"(^|[\s,]){re.escape(flag)}\b(?!-)", text):
            bad(f"{path.relative_to(ROOT)}: `{line}`: mpsync {' '.join(verbs)} has no {flag}")


def commands():
    count = 0
    for path in documents():
        if path.name == "CHANGELOG.md" or "fixtures" in path.parts:
            continue
        text = path.read_text()
        inline = re.findall(r"`(mpsync [^`]+)`", text.replace("\n", " "))
        # What stands alone in a block: fenced, or indented. What comes after a pipe or a redirection is not its own.
        blocks = [block for language, block in fences(text) if language != "yaml"]
        blocks += re.findall(r"^ {4,}mpsync .*$", text, re.M)
        lines = [re.split(r" [|<>&#]", line.strip())[0] for block in blocks for line in block.splitlines() if line.strip().startswith("mpsync ")]
        for line in inline + lines:
            count += 1
            command(path, re.sub(r"[,.;:]$", "", line.strip()))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([MPSYNC, "man", folder], check=True)
        for verb in subcommands(help_of(())) - {"help"}:
            if not (Path(folder) / f"mpsync-{verb}.1").exists():
                bad(f"mpsync {verb} has no man page")
    tables = [re.findall(r"^\| (`mpsync [^|]*?) \|", (ROOT / name).read_text(), re.M) for name in ("README.md", "README.zh-CN.md")]
    if tables[0] != tables[1]:
        bad(f"README.md and README.zh-CN.md name other commands: {set(tables[0]) ^ set(tables[1])}")
    return f"{count} commands"


def snippets():
    """Every fenced YAML block of the documents is a configuration that the program takes."""
    count = 0
    for path in documents():
        for language, text in fences(path.read_text()):
            if language != "yaml":
                continue
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                for secret in re.findall(r"_file: (\S+)", text):
                    # A password and a token may be anything; a key of the archive is of hex digits.
                    (Path(folder) / Path(secret).name).write_text("0123456789abcdef" * 2 + "\n")
                    text = text.replace(secret, f"{folder}/{Path(secret).name}")
                for data in re.findall(r"files: \[([^\]]+)\]", text):
                    text = text.replace(data, str(ROOT / "config" / "schema" / "candles.yaml"))
                file = Path(folder) / "config.yaml"
                file.write_text(text)
                run = subprocess.run([MPSYNC, "--config", file, "config", "check"], capture_output=True, text=True)
                if run.returncode:
                    bad(f"{path.relative_to(ROOT)}: a YAML snippet is refused: {run.stderr.strip()}\n{text}")
    return f"{count} configurations"


def alerts():
    rules = yaml.safe_load((ROOT / "config/prometheus/mpsync.rules.yml").read_text())
    tests = yaml.safe_load((ROOT / "config/prometheus/mpsync.rules.test.yml").read_text())
    tried: dict[str, set[bool]] = {}
    for test in tests["tests"]:
        for case in test["alert_rule_test"]:
            tried.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    sections = anchors(ROOT / "docs/recover.md")
    for group in rules["groups"]:
        for rule in group["rules"]:
            name = rule["alert"]
            if rule["annotations"].get("runbook") != f"docs/recover.md#{name.lower()}" or name.lower() not in sections:
                bad(f"{name} has no section in docs/recover.md")
            if tried.get(name) != {True, False}:
                bad(f"{name} is not tested both to fire and to be silent")
    return f"{len(names)} alerts"


def expressions():
    rules = yaml.safe_load((ROOT / "config/prometheus/mpsync.rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    board = json.loads((ROOT / "config/grafana/mpsync.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]


def metrics():
    """Every metric that an alert or a panel asks for is one that the program's source names."""
    folders = [folder for folder in (ROOT / "crates/daemon/src", ROOT / "src/http") if folder.is_dir()]
    source = "\n".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.rs")))
    # A name that is put together in the source, such as mpsync_ingest_{name}_total, stands for all that it can become.
    named = {re.sub(r"\{\w*\}", "[a-z_]+", name) for name in re.findall(r"\bmpsync_[a-z0-9_{}]+", source)}
    asked = set()
    for where, expression in expressions():
        for name in re.findall(r"\bmpsync_[a-z0-9_]+\b", expression):
            asked.add(name)
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            if not any(re.fullmatch(known, n) for known in named for n in (name, plain)):
                bad(f"{where} queries {name}, which the daemon's source does not name")
    return f"{len(asked)} metrics"


if len(sys.argv) > 3:
    # The panels' expressions as rules, for promtool to read.
    plain = [re.sub(r"\$__rate_interval", "5m", e).replace("$dataset", ".*") for where, e in expressions() if where.startswith("panel")]
    print(yaml.safe_dump({"groups": [{"name": "panels", "rules": [{"record": f"panel_{n}", "expr": e} for n, e in enumerate(plain)]}]}))
    sys.exit(0)

said = [check() for check in (links, commands, snippets, alerts, metrics)]
for line in FOUND:
    print(f"error: {line}", file=sys.stderr)
if FOUND:
    sys.exit(1)
print("ok   documents:", ", ".join(said))
