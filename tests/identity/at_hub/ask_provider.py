"""Asks the authenticator that the hub builds of its settings whether people may stay; runs in the hub's tree.

Takes {"config", "code", "files", "environment", "cases"} as JSON on each line of standard input, and prints a
line with the answer of each case, what is saved of the person afterwards, and what was said. People are those
of a real hub's database.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from jupyterhub import orm
from jupyterhub.user import User
from tornado.httpclient import AsyncHTTPClient
from traitlets.config import Config


class Said(logging.Handler):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        """Keep it."""
        self.lines.append(record.getMessage())


def authenticator(asked):
    """As the hub makes it."""
    os.environ.update(asked["environment"])
    for path, content in asked["files"].items():
        Path(path).write_text(content)
    space = {"c": Config(asked["config"]), "__name__": "hub"}
    exec(asked["code"], space)
    return space["c"].JupyterHub.authenticator_class(config=space["c"], log=logging.getLogger("hub"))


async def answers(asked, said):
    """Of every case, one after the other."""
    asks = authenticator(asked)
    db = orm.new_session_factory("sqlite:///:memory:")()
    found = []
    for case in asked["cases"]:
        known = orm.User.find(db, case["name"]) or orm.User(name=case["name"])
        db.add(known)
        db.commit()
        user = User(known)
        if "state" in case:
            await user.save_auth_state(case["state"])
        said.lines.clear()
        answer = await asks.refresh_user(user, object() if case["request"] else None)
        saved = await user.get_auth_state()
        found.append({"answer": answer, "saved": saved, "said": list(said.lines)})
    return found


def main():
    """All cases of a line, until nobody asks any more."""
    said = Said()
    logging.getLogger("hub").addHandler(said)
    logging.getLogger("hub").propagate = False
    # As the hub's chart has it.
    AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient")
    for line in sys.stdin:
        print(json.dumps(asyncio.run(answers(json.loads(line), said)), default=sorted), flush=True)


main()
