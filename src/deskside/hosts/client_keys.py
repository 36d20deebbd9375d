"""The keys that a login offers: those that the site file lists, the agent's, and the person's usual ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncssh


def private_keys(public: Sequence[Path]) -> list[asyncssh.SSHKeyPair]:
    """Usable private keys beside public ones: those that are there and need no passphrase."""
    import asyncssh

    found: list[asyncssh.SSHKeyPair] = []
    for path in public:
        private = path.with_suffix("") if path.suffix == ".pub" else path
        with suppress(OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            found.extend(asyncssh.load_keypairs(str(private)))
    return found


async def other_keys(address: str, public: Sequence[Path]) -> list[asyncssh.SSHKeyPair]:
    """Keys of the agent (those listed in `public` first), then of ~/.ssh and its configuration."""
    import asyncssh

    listed = set()
    for path in public:
        with suppress(OSError, asyncssh.KeyImportError):
            listed.add(asyncssh.read_public_key(str(path)).public_data)
    held: list[asyncssh.SSHKeyPair] = []
    if os.environ.get("SSH_AUTH_SOCK"):
        with suppress(OSError, ValueError, asyncssh.Error):
            agent = await asyncssh.connect_agent()
            held = sorted(await agent.get_keys(), key=lambda key: key.public_data not in listed)
    options = asyncssh.SSHClientConnectionOptions(host=address, agent_path=None)
    return [*held, *(options.client_keys or ())]
