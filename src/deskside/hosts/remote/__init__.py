"""The one program that runs on a host: Python 3.10 standard library only, sent over standard input.

Nothing is installed for it. `program()` joins the files of this folder into one text; on the host they share
one namespace, so a name stands in one file only (a test holds it), and the files import nothing of Deskside
but each other. No other part of Deskside imports them: `request()`, `BOOT` and `answer()` are the way in.

Wire: a line `{"program": BYTES, "payload": BYTES, "sha256": ...}`, the program (compressed: on a slow network
its size costs round trips), the payload (JSON). Answer: lines `{"progress": ...}`, one line that is the
answer, and the end marker with that line's digest (F3: without it, nothing is known).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

FACTS = ("system", "sockets", "hardware", "facts")
CLUSTER = ("api", "cluster")
ANSWERING: Mapping[str, Sequence[str]] = {
    "path": ("paths",),
    "tls": ("tls",),
    "facts": FACTS,
    **dict.fromkeys(("output", "packages", "sysctls", "unit"), ("system",)),
    **dict.fromkeys(("release", "objects", "secret_notes"), CLUSTER),
}
"""Kind of a question -> the files that answer it: a host is sent, and compiles, no other ones."""
READING = ("core", "paths", "tls", *FACTS, *CLUSTER, "reading")
"""Files that answer questions, in order; none of them changes anything."""
ACTING = ("room", "files", "packages", "artifacts", "releases", "acting", "lease", "going", "runs")
EVERYTHING = (*READING, *ACTING)
"""All files, in order."""
LEADING: Mapping[str, Sequence[str]] = {
    "lease": ("lease",),
    "settle": ("going",),
    "receive": ("system", "hardware", "room", "files", "artifacts"),
    "perform": ("system", "hardware", "room", "files", "acting", "lease", "going", "runs"),
}
"""What a conversation is for -> the files that lead it."""
MAKING: Mapping[str, Sequence[str]] = {
    "install_packages": ("packages",),
    "install_artifact": ("artifacts",),
    **dict.fromkeys(("apply_release", "make_cluster_secret"), (*CLUSTER, "releases")),
}
"""Kind of an action -> the files that it needs beside those; no other kind needs any."""

BOOT = (
    "import sys,json,hashlib,zlib;r=sys.stdin.buffer;g={'__name__':'deskside_remote'};"
    "all((h:=json.loads(l),S:=r.read(h['program']),P:=r.read(h['payload']),"
    "hashlib.sha256(S+P).hexdigest()==h['sha256'] or sys.exit(95),"
    "S and (g.update(SOURCE=zlib.decompress(S)),exec(compile(g['SOURCE'],'deskside','exec'),g)),"
    "g['main'](P)) for l in iter(r.readline,b''))"
)
"""What `python3 -c` is given: read program and payload, refuse half of them (status 95), run; and so on until
standard input ends. A further request may bring more of the program. One line: not every shell takes two."""

NO_PYTHON = 96
"""Exit status of the launcher where there is no python3."""
CUT_SHORT = 95
"""Exit status where the program or the payload did not arrive whole."""
END = "deskside-end "
"""Begins the end marker; the digest of the line before it follows."""


_OURS = re.compile(r"^from (?:__future__|deskside\.[\w.]+) import (?:\([^)]*\)|.*)\n", re.MULTILINE)


def standing_alone(*paths: Path) -> str:
    """Files of a program as one text, without their imports of each other."""
    return "\n".join(
        ["from __future__ import annotations", *(_OURS.sub("", path.read_text()) for path in paths)]
    )


@cache
def program(files: Sequence[str] = EVERYTHING) -> bytes:
    """The program as one text."""
    folder = Path(__file__).parent
    return standing_alone(*(folder / f"{name}.py" for name in files)).encode()


@cache
def compressed(files: Sequence[str] = EVERYTHING) -> bytes:
    """The program as it travels."""
    return zlib.compress(program(files), 9)


def files_for(kinds: Iterable[str]) -> tuple[str, ...]:
    """The files that answer questions of these kinds, and none that changes anything."""
    needed = {name for kind in kinds for name in ANSWERING.get(kind, ())}
    return tuple(name for name in READING if name in {"core", "reading", *needed})


def questions(
    queries: Sequence[Mapping[str, object]], there: Collection[str] = ()
) -> tuple[bytes, Sequence[str]]:
    """What is sent over standard input to have questions answered, and the files of the program in it."""
    files = tuple(name for name in files_for(str(query["op"]) for query in queries) if name not in there)
    return _sent({"mode": "read", "queries": queries}, files), files


def request(payload: Mapping[str, object]) -> bytes:
    """What is sent over standard input for a conversation other than questions."""
    actions = payload.get("actions")
    kinds = [str(action["op"]) for action in actions] if isinstance(actions, list) else []
    return _sent(payload, files_to_lead(str(payload["mode"]), kinds))


def files_to_lead(mode: str, actions: Iterable[str] = ()) -> tuple[str, ...]:
    """The files for a conversation, with actions of these kinds."""
    needed = {"core", *LEADING[mode], *(name for kind in actions for name in MAKING.get(kind, ()))}
    return tuple(name for name in EVERYTHING if name in needed)


def _sent(payload: Mapping[str, object], files: Sequence[str]) -> bytes:
    source, body = compressed(files) if files else b"", json.dumps(payload).encode()
    head = {"program": len(source), "payload": len(body), "sha256": sha256(source + body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + source + body


def answer(output: bytes) -> Mapping[str, object] | None:
    """The answer in what the host printed; None when it did not come whole."""
    lines = output.decode("utf-8", "replace").splitlines()
    if len(lines) < 2 or lines[-1] != END + sha256(lines[-2].encode()).hexdigest():
        return None
    found = json.loads(lines[-2])
    return found if isinstance(found, dict) else None
