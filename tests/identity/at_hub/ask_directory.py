"""Asks the authenticator that the hub builds of its settings about people; runs in the hub's tree.

Takes a list of cases as JSON on each line of standard input, and prints a line with what came of each.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from traitlets.config import Config


class Person:
    """All that is looked at of somebody."""

    def __init__(self, name):
        self.name = name


class Said(logging.Handler):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        """Keep it."""
        self.lines.append(record.getMessage())


def loaded(case):
    """The names of the code that the hub loads, which chooses the authenticator."""
    space = {"c": Config(case["config"]), "__name__": "hub"}
    exec(case["code"], space)
    space.update(case["limits"])
    return space


async def answers(case, said):
    """Of `refresh_user` about each name; what `locked` says of each account."""
    os.environ.update(case["environment"])
    for path, content in case["files"].items():
        Path(path).write_text(content)
    space = loaded(case)
    asked = space["c"].JupyterHub.authenticator_class(config=space["c"], log=logging.getLogger("hub"))
    said.lines.clear()
    return {
        "answers": {name: await asked.refresh_user(Person(name)) for name in case["names"]},
        "locked": [space["locked"](account) for account in case["accounts"]],
        "said": list(said.lines),
    }


def main():
    """Case by case, until nobody asks any more."""
    said = Said()
    logging.getLogger("hub").addHandler(said)
    for line in sys.stdin:
        print(json.dumps([asyncio.run(answers(case, said)) for case in json.loads(line)]), flush=True)


main()
