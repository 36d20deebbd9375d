"""The measurements measure what they say; the figures themselves are no test."""

from __future__ import annotations

import asyncio
import json
import random
import re
import runpy
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
PLAN: Mapping[str, Any] = runpy.run_path(str(BENCH / "plan.py"))
JOB: Mapping[str, Any] = runpy.run_path(str(BENCH / "items.py"))
COMPARE: Mapping[str, Any] = runpy.run_path(str(BENCH / "compare.py"))
RELAY: Mapping[str, Any] = runpy.run_path(str(BENCH / "relay.py"))


def test_a_cost_is_the_whole_process_with_its_children() -> None:
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    found = PLAN["cost"]([sys.executable, "-c", child], "it")
    assert found.cpu >= 0.2
    assert found.wall >= 0.2
    idle = PLAN["cost"](["sleep", "0.3"], "it")
    assert idle.wall >= 0.3
    assert idle.cpu < 0.2


@pytest.mark.parametrize(("status", "said"), [(4, "it ended with status 4: no host"), (10, "not empty")])
def test_a_run_that_fails_ends_the_measurement(status: int, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        PLAN["cost"](["sh", "-c", f"echo no host >&2; exit {status}"], "it")


def test_programs_run_in_turn_and_the_first_round_does_not_count(tmp_path: Path) -> None:
    said = tmp_path / "said"
    programs = {name: ["sh", "-c", f"echo {name} >> {said}"] for name in ("one", "other")}
    costs = PLAN["measured"](programs, 2)
    assert said.read_text().split() == ["one", "other"] * 3
    assert {name: len(found) for name, found in costs.items()} == {"one": 2, "other": 2}


def test_the_table_has_medians_and_their_ratio() -> None:
    cost = PLAN["Cost"]
    costs = {
        "plan": [cost(1.0, 0.4), cost(9.0, 0.6), cost(2.0, 0.5)],
        "minimal": [cost(0.5, 0.25)] * 3,
    }
    lines = PLAN["table"](costs, measured_name="plan", against="minimal").splitlines()
    assert " ".join(lines[1].split()) == "plan 1.00 s 2.00 s 9.00 s 0.40 s 0.50 s 0.60 s"
    assert lines[-1] == "plan / minimal: wall 4.00, CPU 2.00 (medians)"


def test_the_job_has_twenty_items_and_the_peers_get_the_same() -> None:
    wanted = JOB["JOB"]
    host = SimpleNamespace(name="ws1", spec=SimpleNamespace(address="10.0.0.1"))
    resources = list(JOB["job"].resources(None, None, host))
    assert len(resources) == 20
    subjects = " ".join(resource.subject for resource in resources)
    for path in (*wanted["directories"], *wanted["files"], wanted["template"], wanted["absent"]):
        assert path in subjects
    for peer in ("job.yaml", "deploy.py"):
        text = (BENCH / "peers" / peer).read_text()
        for name in wanted:
            assert re.search(rf"\b{name}\b", text), f"{peer} does nothing about {name}"


def test_a_table_of_peers_has_ratios_to_ours() -> None:
    cost = PLAN["Cost"]
    table = COMPARE["Measured"](
        "Nothing to do", {"deskside plan": [cost(2.0, 1.0)], "ansible": [cost(40.0, 8.0)]}
    )
    assert table.text().splitlines()[-1] == "| ansible | 40.00 s | 8.00 s | 20.00 | 8.00 |"


async def test_a_relay_passes_everything_on_in_its_order() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    relay = await RELAY["relay"]("127.0.0.2", "127.0.0.1", 0, 0.002, port)
    reader, writer = await asyncio.open_connection("127.0.0.2", relay.sockets[0].getsockname()[1])
    sent = random.Random(1).randbytes(300_000)
    writer.write(sent)
    writer.write_eof()
    assert await reader.read() == sent
    writer.close()
    await writer.wait_closed()
    relay.close()
    server.close()
    await asyncio.gather(relay.wait_closed(), server.wait_closed())


@asynccontextmanager
async def ssh_server(folder: Path, ran: list[str]) -> AsyncIterator[dict[str, object]]:
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user_key.write_private_key(str(folder / "id"))
    user_key.write_public_key(str(folder / "id.pub"))

    def process(process: asyncssh.SSHServerProcess[str]) -> None:
        ran.append(process.command or "")
        process.exit(0)

    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(folder / "id.pub"),
        process_factory=process,
    )
    port = server.get_port()
    public = host_key.export_public_key().decode()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    try:
        yield {
            "host": "127.0.0.1",
            "port": port,
            "user": "ops",
            "keys": [str(folder / "id")],
            "known_hosts": str(folder / "known_hosts"),
        }
    finally:
        server.close()
        await server.wait_closed()


async def test_the_minimal_program_runs_one_command_on_each_host(tmp_path: Path) -> None:
    ran: list[str] = []
    async with ssh_server(tmp_path, ran) as host:
        given = tmp_path / "hosts.json"
        given.write_text(json.dumps([host, host, host]))
        argv = (sys.executable, str(BENCH / "minimal.py"), str(given))
        process = await asyncio.create_subprocess_exec(*argv)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert ran == ["true"] * 3
    assert "deskside" not in (BENCH / "minimal.py").read_text().lower().partition('"""\n\n')[2]
