"""Settings of a real hub on loopback whose people are refused as `answers.json` says; runs in the hub's tree.

`settings.json` beside this file has the ports, the tokens, the values of the chart that are tested, and the
code that the hub loads.
"""

import asyncio
import json
import time
from pathlib import Path

from jupyterhub.auth import DummyAuthenticator
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

HERE = Path(__file__).parent
SETTINGS = json.loads((HERE / "settings.json").read_text())


AT_ONCE = 0.05
"""Seconds between two questions of one look, at most: all of it has the same answers."""


class NoProxy(Proxy):
    """Nobody comes by a browser."""

    should_start = False

    async def add_route(self, routespec, target, data):
        """Nothing is routed."""

    async def delete_route(self, routespec):
        """Nothing was routed."""

    async def get_all_routes(self):
        """All is as the hub wants it."""
        return {}

    async def check_routes(self, *arguments):
        """Nothing to put right."""


class Page(RequestHandler):
    """What a desk shows."""

    def get(self, path):
        """Anything at all: the hub waits for an answer."""
        self.write("a desk")


class Desk(Spawner):
    """A desk in the hub's own process."""

    page = None

    async def start(self):
        """Open it on a free port."""
        sockets = bind_sockets(0, "127.0.0.1")
        self.page = HTTPServer(Application([(r"(.*)", Page)]))
        self.page.add_sockets(sockets)
        return "127.0.0.1", sockets[0].getsockname()[1]

    async def poll(self):
        """None while it runs."""
        return None if self.page else 0

    async def stop(self, now=False):
        """Close it, and say so."""
        self.page.stop()
        self.page = None
        print(f"stopped the desk of {self.user.name}\n", end="", flush=True)


class Scripted(DummyAuthenticator):
    """Answers about people as the test wishes; whom it says nothing about may stay."""

    asked, answers = 0.0, {}

    async def refresh_user(self, user, handler=None):
        """False, True, None, a model, an error, or no answer at all."""
        if handler is not None:
            # Only the watch is tested: the hub itself asks too, when somebody comes with a token.
            return True
        if time.monotonic() - self.asked > AT_ONCE:
            self.answers = json.loads((HERE / "answers.json").read_text())
        self.asked = time.monotonic()
        print(f"asked about {user.name}\n", end="", flush=True)
        answer = self.answers.get(user.name, True)
        if answer == "error":
            raise LookupError("the directory is gone")
        if answer == "silence":
            await asyncio.Event().wait()
        return answer


c.JupyterHub.authenticator_class = Scripted  # noqa: F821
c.JupyterHub.spawner_class = Desk  # noqa: F821
c.JupyterHub.proxy_class = NoProxy  # noqa: F821
c.JupyterHub.base_url = SETTINGS["base_url"]  # noqa: F821
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{SETTINGS['port']}"  # noqa: F821
c.JupyterHub.bind_url = f"http://127.0.0.1:{SETTINGS['port']}"  # noqa: F821
c.JupyterHub.db_url = "sqlite:///hub.sqlite"  # noqa: F821
c.JupyterHub.cookie_secret = bytes(32)  # noqa: F821
c.JupyterHub.services = SETTINGS["services"]  # noqa: F821
c.JupyterHub.load_roles = SETTINGS["roles"]  # noqa: F821
c.Authenticator.admin_users = {SETTINGS["admin"]}  # noqa: F821
c.Authenticator.allow_all = True  # noqa: F821
c.Leaving.update(SETTINGS["leaving"])  # noqa: F821
for code in SETTINGS["code"]:
    exec(code)
