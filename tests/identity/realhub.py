"""A real hub on loopback, of the rack's hub image, with the code and the rights that Deskside gives to it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from addons.sites import example_platform, example_site
from deskside.addons.jupyterhub import SERVICE, hub_values
from deskside.identity.lending import lending_scopes

PYTHON = "/opt/jupyter/bin/python3"
Z2JH = Path(__file__).parents[2] / "src/deskside/lab/charts/jupyterhub/files/z2jh.py"
CONFIG = Path(__file__).parent / "at_hub/hub_config.py"
PLACE = "tmp/a-hub"
BASE_URL = "/desks/"
TOKEN, ADMIN = "a" * 32, "b" * 32
"""Of Deskside, and of the test itself."""
LOCAL, LENDER, ADMINISTRATOR = "breakglass", "ann", "zoe"
"""The account that no directory knows; the person as whom `verify` works; and who is an admin by name."""
PATIENCE = 20.0
READY = "JupyterHub is now running"
SITE = {"identity": {"break_glass": {"name": LOCAL, "password": {"file": "x"}}}}
MAY_ALL = ["admin:users", "admin:servers", "tokens", "list:users"]


@dataclass
class Log:
    """What the hub says, line by line, as it says it."""

    lines: list[str] = field(default_factory=list)
    said: threading.Condition = field(default_factory=threading.Condition)

    def follow(self, stream: IO[str]) -> None:
        """Read to the end."""
        for line in stream:
            with self.said:
                self.lines.append(line.rstrip("\n"))
                self.said.notify_all()

    def count(self, words: str) -> int:
        """How many lines have these words."""
        return sum(words in line for line in self.lines)

    def wait(self, words: str, times: int = 1) -> None:
        """Until that many lines have these words."""
        with self.said:
            if not self.said.wait_for(lambda: self.count(words) >= times, PATIENCE):
                raise AssertionError(f"{words!r} was not said:\n" + "\n".join(self.lines))


@dataclass
class Hub:
    """A hub that runs."""

    tree: Path
    port: int
    log: Log

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE_URL}hub/api"

    def ask(self, method: str, path: str, token: str = ADMIN, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"token {token}"}
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            return client.request(method, f"{self.api}{path}", headers=headers, **more)

    def add(self, *names: str) -> None:
        for name in names:
            assert self.ask("POST", f"/users/{name}").status_code == 201

    def token_of(self, name: str) -> str:
        """A token that is good, as long as its owner is."""
        token = str(self.ask("POST", f"/users/{name}/tokens", json={}).json()["token"])
        assert self.knows(token)
        return token

    def knows(self, token: str) -> bool:
        return self.ask("GET", "/user", token).status_code == 200

    def open_desk(self, name: str) -> None:
        assert self.ask("POST", f"/users/{name}/server").status_code == 201

    def names(self) -> set[str]:
        return {str(one["name"]) for one in self.ask("GET", "/users").json()}

    def answers(self, answers: Mapping[str, object]) -> None:
        """What is said about people from now on."""
        place = self.tree / PLACE / "answers.json"
        fresh = place.with_suffix(".new")
        fresh.write_text(json.dumps(answers))
        fresh.replace(place)

    def look(self, asked: str) -> None:
        """Until a look that began after now has ended: somebody who stays was asked about in the next."""
        words = f"asked about {asked}"
        # One that is under way may have read the answers before.
        self.log.wait(words, self.log.count(words) + 3)

    def empty(self) -> None:
        """Nobody is left, and nothing was said."""
        self.answers({})
        for name in self.names():
            self.ask("DELETE", f"/users/{name}/server")
            assert self.ask("DELETE", f"/users/{name}").status_code == 204
        with self.log.said:
            self.log.lines.clear()

    def run(self, argv: tuple[str, ...], told: str, token: str = TOKEN) -> str:
        """A program of Deskside in the hub's pod, which has this token of the service; what it prints."""
        place = self.tree / "usr/local/etc/jupyterhub"
        (place / "secret").mkdir(exist_ok=True)
        (place / "z2jh.py").write_text(Z2JH.read_text())
        (place / "secret/values.yaml").write_text(json.dumps({"hub": {"baseUrl": BASE_URL}}))
        (place / "secret/hub.services.deskside.apiToken").write_text(f"{token}\n")
        *words, program = argv
        assert program.count(":8081") == 1
        line = inside(self.tree, *words, program.replace(":8081", f":{self.port}"))
        ended = subprocess.run(line, input=told, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def inside(tree: Path, *argv: str, folder: str = "/") -> list[str | Path]:
    """The command line of a program in the hub's image."""
    path = f"PATH={Path(PYTHON).parent}:/usr/bin:/bin"
    return ["chroot", tree, "/usr/bin/env", "-i", f"-C{folder}", path, "LANG=C.UTF-8", *argv]


@dataclass
class Asked:
    """A program in the hub's image that answers each line of JSON with another."""

    process: subprocess.Popen[str]

    def ask(self, told: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the program ended; see what it said on standard error"
        return json.loads(line)


@contextmanager
def asked_inside(tree: Path, program: Path) -> Iterator[Asked]:
    """Start a program of `at_hub/`; it ends with the block."""
    argv = inside(tree, PYTHON, "-c", program.read_text())
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Asked(process)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def settings(port: int) -> dict[str, object]:
    """What the hub reads: the chart's values of Deskside as they are, with the test's own short times."""
    values: Any = hub_values(example_site(SITE), example_platform())
    hub = values["hub"]
    tokens = {SERVICE: TOKEN, "tests": ADMIN}
    own = hub["loadRoles"][SERVICE]
    own["scopes"] += lending_scopes(LENDER)
    roles = {SERVICE: own, "tests": {"scopes": MAY_ALL, "services": ["tests"]}}
    assert hub["services"] == {SERVICE: {}}
    return {
        "port": port,
        "admin": ADMINISTRATOR,
        "base_url": BASE_URL,
        "services": [{"name": name, "api_token": token} for name, token in tokens.items()],
        "roles": [{"name": name, **role} for name, role in roles.items()],
        "leaving": hub["config"]["Leaving"] | {"interval": 0.1, "patience": 0.3},
        "code": [code for name, code in sorted(hub["extraConfig"].items()) if "leaving" in name],
    }


@contextmanager
def running_hub(tree: Path) -> Iterator[Hub]:
    """Start a hub and wait until it answers; it ends with the block."""
    place, port = tree / PLACE, free_port()
    place.mkdir()
    shutil.copy(CONFIG, place)
    (place / "settings.json").write_text(json.dumps(settings(port)))
    hub = Hub(tree, port, Log())
    hub.answers({})
    argv = inside(tree, PYTHON, "-m", "jupyterhub", f"--config={CONFIG.name}", folder=f"/{PLACE}")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    reader = threading.Thread(target=hub.log.follow, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        hub.log.wait(READY)
        yield hub
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        reader.join(PATIENCE)
        process.stdout.close()
        shutil.rmtree(place)
