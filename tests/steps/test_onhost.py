"""The two small programs that run on hosts, run here."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import deskside.steps
from deskside.steps.arp_probe import answer, question
from deskside.steps.fsync_probe import nearest, percentile

HERE = Path(deskside.steps.__file__).parent


def test_fsync_probe_leaves_no_file(tmp_path: Path) -> None:
    asked = json.dumps({"paths": [str(tmp_path / "no"), str(tmp_path)], "writes": 5})
    argv = [sys.executable, "-I", str(HERE / "fsync_probe.py")]
    told = subprocess.run(argv, input=asked, capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    assert found["path"] == str(tmp_path)
    assert found["milliseconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_percentile_and_nearest() -> None:
    assert percentile([0.001] * 99 + [0.5]) == 500
    assert percentile([0.001]) == 1
    assert nearest(["/no/such"]) == "/"


def test_arp_question_is_a_probe_and_only_replies_are_answers() -> None:
    frame = question(b"\x02\0\0\0\0\x01", "10.0.0.9")
    assert len(frame) == 42
    assert frame[28:32] == b"\0\0\0\0", "sender 0.0.0.0 enters nobody's cache"
    assert frame[38:42] == socket.inet_aton("10.0.0.9")
    assert answer(frame) == ("", "")
    reply = frame[:20] + b"\0\2" + b"\x02\0\0\0\0\x07" + socket.inet_aton("10.0.0.9") + frame[32:]
    assert answer(reply) == ("10.0.0.9", "02:00:00:00:00:07")
    assert answer(b"short") == ("", "")
