"""The least that a program with asyncssh can do: connect to each host, run one command there, end.

    python bench/minimal.py PLAN.json     a list of {host, port, user, keys, known_hosts}

It imports nothing of Deskside, so that it shows what the connections cost by themselves.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TypedDict

import asyncssh


class Host(TypedDict):
    host: str
    port: int
    user: str
    keys: list[str]
    known_hosts: str


async def ask(host: Host) -> None:
    async with asyncssh.connect(
        host["host"],
        host["port"] or (),  # what the site file leaves open is 22
        username=host["user"],
        client_keys=host["keys"] or (),
        known_hosts=host["known_hosts"],
        config=None,
    ) as connection:
        result = await connection.run("true")
        if result.exit_status != 0:
            raise SystemExit(f"{host['host']}: exit status {result.exit_status}")


async def main(hosts: list[Host]) -> None:
    await asyncio.gather(*(ask(host) for host in hosts))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        asyncio.run(main(json.load(file)))
