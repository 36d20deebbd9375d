"""Which of a host's keys is looked at: one of the kind that is pinned, so that like is compared with like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from deskside.hosts.pins import HostKey, Pins, host_key, scan_host_key

KINDS = ("ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519")


@pytest.fixture(scope="module")
def keys() -> dict[str, asyncssh.SSHKey]:
    return {kind: asyncssh.generate_private_key(kind) for kind in KINDS}


@pytest.fixture
async def port(keys: dict[str, asyncssh.SSHKey]) -> AsyncIterator[int]:
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=list(keys.values()))
    yield server.get_port()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_of_the_kind_that_is_pinned(
    keys: dict[str, asyncssh.SSHKey], port: int, kind: str, tmp_path: Path
) -> None:
    pins = Pins(tmp_path / "known_hosts")
    pins.put("ws1", "127.0.0.1", host_key(keys[kind]))
    assert pins.kinds("ws1", "127.0.0.1") == (kind,)
    found = await scan_host_key("127.0.0.1", port, pins.kinds("ws1", "127.0.0.1"))
    assert (found.fingerprint,) == pins.fingerprints("ws1", "127.0.0.1")


async def test_without_a_pin_the_key_that_people_are_told_to_compare(
    keys: dict[str, asyncssh.SSHKey], port: int
) -> None:
    assert await scan_host_key("127.0.0.1", port) == host_key(keys["ssh-ed25519"])


def test_a_key_that_is_pinned_by_name_and_address_is_told_once(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "known_hosts")
    line = host_key(asyncssh.generate_private_key("ssh-ed25519")).line
    pins.put("ws1", "10.0.0.11", HostKey(line, ""))
    assert len(pins.fingerprints("ws1", "10.0.0.11")) == 1


def test_a_pin_is_taken_back_to_what_stood_there(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "known_hosts")
    first, second, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(3))
    pins.put("ws2", "10.0.0.12", host_key(other))
    pins.put("ws1", "10.0.0.11", host_key(first))
    before = pins.put("ws1", "10.0.0.11", host_key(second))
    pins.replace("ws1", "10.0.0.11", before)
    assert pins.fingerprints("ws1", "10.0.0.11") == (host_key(first).fingerprint,)
    assert pins.fingerprints("ws2", "10.0.0.12") == (host_key(other).fingerprint,)
    pins.replace("ws1", "10.0.0.11", ())
    assert pins.fingerprints("ws1", "10.0.0.11") == ()
    assert pins.fingerprints("ws2", "10.0.0.12") == (host_key(other).fingerprint,)
