"""The acceptance test, as a real user: over the users' address, from a place that is not a node.

Every check ends in a finding. What a check changed (a desk, a cordon, a file) is put back, also when it is
interrupted. This file knows the order of the checks; how a user talks to the hub is in `hub.py`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic

from deskside.app.closed import cell_that_tries, closed_to_desks, judged
from deskside.app.host_login import same_person_everywhere
from deskside.app.hub import Choice, HubUser
from deskside.app.provider_login import BY_HAND, NOT_TRIED, leads_to_provider
from deskside.app.resolving import names_resolve
from deskside.errors import CheckFailed, DesksideError
from deskside.model.action import RunCommand
from deskside.model.finding import Finding, Outcome
from deskside.model.query import ReadOutput
from deskside.model.resource import HostReader, HostWriter
from deskside.site.schema import Person, Site
from deskside.site.secrets import Secret

KUBECTL = ("/opt/deskside/bin/kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")
HUB_NAMESPACE = "jupyterhub"
PUT_BACK_SECONDS = 120.0
AS_USER = ("log in", "profiles", "desk", "cell", "firewall", "home")


@dataclass(frozen=True)
class Login:
    """Somebody to log in as; without a password the checks that need it are reported as not run."""

    name: str
    password: Secret | None


@dataclass
class Acceptance:
    """One run of the acceptance test against a site."""

    site: Site
    url: str
    server: HostWriter
    """A healthy server: where desks are looked up and nodes are cordoned."""
    hosts: Mapping[str, HostReader]
    """Every host that answered: where names are looked up."""
    user: Login | None
    outsider: Login | None
    report: Callable[[str], None]
    """Told what is going on right now."""
    finding: Callable[[Finding], None]
    """Told each finding as it comes."""
    directory: Callable[[], Awaitable[Sequence[Finding]]]
    """Looks at the directory from a server."""
    findings: list[Finding] = field(default_factory=list)

    async def run(self) -> tuple[Finding, ...]:
        """All checks in order. A check that needs a failed one is reported as not run."""
        if self.site.dns_server is not None:
            await self._check("names", lambda: names_resolve(self.site, self.hosts))
        await self._check("directory", self._directory)
        if self.site.identity.host_login and self.user is not None:
            known = self.user.name
            await self._check("host login", lambda: same_person_everywhere(self.site, known, self.hosts))
        if not await self._check("address", self._address):
            self._not_run(
                ("wrong password", "outsider", *AS_USER),
                "the hub does not answer",
            )
            return tuple(self.findings)
        if self.site.identity.kind == "okta":
            await self._check("log in", lambda: leads_to_provider(self.url, self.server))
            rest = tuple(name for name in AS_USER if name != "log in")
            self._not_run(("wrong password", "outsider", *rest), NOT_TRIED, BY_HAND)
            return tuple(self.findings)
        await self._strangers()
        if self.user is None or self.user.password is None:
            self._not_run(
                AS_USER,
                "nobody to log in as",
                "set verify.user in the site file, or run it on a terminal",
            )
        else:
            await self._as_user(self.user.name, self.user.password)
        return tuple(self.findings)

    async def _strangers(self) -> None:
        if self.user is not None:
            await self._check("wrong password", self._wrong_password)
        else:
            self._not_run(("wrong password",), "nobody to try it as", "set verify.user in the site file")
        if self.outsider is not None and self.outsider.password is not None:
            await self._check("outsider", self._outsider_refused)
        else:
            self._not_run(("outsider",), "no outsider is known", "set verify.outsider in the site file")

    async def _as_user(self, name: str, password: Secret) -> None:
        async with AsyncExitStack() as put_back:
            user = await put_back.enter_async_context(HubUser(self.url, name))
            desk = Desk(self, user, put_back)
            steps: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
                ("log in", lambda: desk.log_in(password)),
                ("profiles", desk.profiles),
                ("desk", desk.start),
                ("cell", desk.cell),
                ("firewall", desk.firewall),
                ("home", desk.home),
            )
            if not self.site.network.firewall.enabled:
                steps = tuple(step for step in steps if step[0] != "firewall")
            for position, (check, run) in enumerate(steps):
                if not await self._check(check, run):
                    rest = tuple(name for name, _ in steps[position + 1 :])
                    self._not_run(rest, f"{check} did not pass")
                    return

    async def _directory(self) -> str:
        """A person may log in all the same, from what the hub or a host remembers."""
        found = await self.directory()
        for one in found:
            if one.refuses:
                raise CheckFailed(one.message, hint=one.hint)
        return "; ".join(one.message for one in found)

    async def _address(self) -> str:
        async with HubUser(self.url, "nobody") as hub:
            version = await hub.version()
        return f"JupyterHub {version} answers at {self.url}"

    async def _wrong_password(self) -> str:
        assert self.user is not None
        async with HubUser(self.url, self.user.name) as user:
            status = await user.log_in(Secret(secrets.token_hex(12)))
            if status == 302 or await user.is_logged_in():
                raise CheckFailed(
                    f"a wrong password was accepted for {self.user.name}",
                    hint="look at identity in the site file",
                )
            if status != 403:
                raise CheckFailed(
                    f"a wrong password got HTTP {status} instead of 403: the directory was not asked",
                    hint="run: deskside check",
                )
        return f"a wrong password is refused (HTTP {status})"

    async def _outsider_refused(self) -> str:
        assert self.outsider is not None
        assert self.outsider.password is not None
        async with HubUser(self.url, self.outsider.name) as user:
            status = await user.log_in(self.outsider.password)
            if status == 302 or await user.is_logged_in():
                raise CheckFailed(
                    f"{self.outsider.name} may log in, but should not", hint="look at identity.allow"
                )
            if status != 403:
                raise CheckFailed(
                    f"{self.outsider.name} got HTTP {status} instead of 403: the directory was not asked",
                    hint="run: deskside check",
                )
        await self._outsider_known()
        return f"{self.outsider.name} is known to the directory and refused (HTTP 403)"

    async def _outsider_known(self) -> None:
        """The hub tells nobody who is refused whether it was for the password; its log does."""
        assert self.outsider is not None
        argv = (*KUBECTL, "logs", "deployment/hub", "-n", HUB_NAMESPACE, "--since=2m", "--tail=500")
        output = await self.server.read(ReadOutput(argv))
        if output.status != 0:
            raise CheckFailed(
                f"why the hub refused {self.outsider.name} is not known: {output.stderr.strip()}"
            )
        about = [line for line in output.stdout.splitlines() if f"'{self.outsider.name}'" in line]
        if not any("not allowed" in line for line in about[-2:]):
            raise CheckFailed(
                f"{self.outsider.name} was refused for the password: that proves nothing about the group",
                hint="correct the password of verify.outsider",
            )

    async def _check(self, name: str, run: Callable[[], Awaitable[str]]) -> bool:
        started = monotonic()
        self.report(name)
        try:
            finding = Finding(name, "site", Outcome.OK, await run(), seconds=monotonic() - started)
        except DesksideError as error:
            finding = self._failed(name, error.message, error.hint, started)
        except TimeoutError:
            finding = self._failed(name, "it took too long", "", started)
        except Exception as error:
            if not _from_network(error):
                raise
            finding = self._failed(name, f"{self.url}: {error or type(error).__name__}", "", started)
        self._add(finding)
        return finding.outcome is Outcome.OK

    def not_put_back(self, message: str, hint: str, started: float) -> None:
        """Something that the test changed is still changed; `hint` says how to undo it."""
        self._add(self._failed("put back", message, hint, started))

    def _failed(self, name: str, message: str, hint: str, started: float) -> Finding:
        hint = hint or "run: deskside status, then: deskside plan"
        return Finding(name, "site", Outcome.FAILED, message, hint, seconds=monotonic() - started)

    def _not_run(self, names: tuple[str, ...], reason: str, hint: str = "") -> None:
        for name in names:
            self._add(Finding(name, "site", Outcome.NOT_RUN, reason, hint))

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.finding(finding)


@dataclass
class Desk:
    """The user's desk on its way through the checks; what it changes is registered to be put back."""

    test: Acceptance
    user: HubUser
    put_back: AsyncExitStack
    choice: Choice | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    async def log_in(self, password: Secret) -> str:
        """The right password is accepted."""
        status = await self.user.log_in(password)
        if status != 302 or not await self.user.is_logged_in():
            raise CheckFailed(
                f"{self.user.name} may not log in (HTTP {status})",
                hint="wrong password, not in the allowed group, or no directory: run deskside check",
            )
        return f"{self.user.name} is logged in"

    async def profiles(self) -> str:
        """Every profile of the site file is offered, and nothing else."""
        await self._stop_leftover()
        offered = await self.user.profiles()
        wanted = [profile.name for profile in self.test.site.notebooks.profiles]
        missing = [name for name in wanted if name not in [choice.name for choice in offered]]
        if missing:
            raise CheckFailed(f"not offered: {', '.join(missing)}", hint="run: deskside plan")
        default = next(
            (profile.name for profile in self.test.site.notebooks.profiles if profile.default), wanted[0]
        )
        self.choice = next(choice for choice in offered if choice.name == default)
        return f"offered: {', '.join(choice.name for choice in offered)}"

    async def start(self) -> str:
        """A desk starts and answers."""
        assert self.choice is not None
        hint = f"stop the desk of {self.user.name} at {self.test.url}"
        self.put_back.push_async_callback(self._shielded, self.user.stop, hint)
        async with asyncio.timeout(self.test.site.notebooks.start_timeout + 60):
            await self.user.start(self.choice.slug, self.test.report)
        return f"{self.choice.name} runs on {await self._node()}"

    async def cell(self) -> str:
        """A kernel computes something that nobody could have written down before."""
        left, right = secrets.randbelow(10**6), secrets.randbelow(10**6)
        printed = await self.user.run_cell(f"import os\nprint({left} * {right}, os.getuid())")
        product, _, uid = printed.strip().partition(" ")
        if product != str(left * right):
            raise CheckFailed(f"{left} * {right} printed {printed.strip()!r}")
        if uid == "0":
            raise CheckFailed("the desk runs as root", hint="look at notebooks.values: singleuser.uid")
        return f"a cell ran (as uid {uid})"

    async def firewall(self) -> str:
        """The desk reaches nothing that would let it pass for its host."""
        places = closed_to_desks(self.test.site)
        return judged(await self.user.run_cell(cell_that_tries(places)), places)

    async def home(self) -> str:
        """A file in the home is there again after a restart on another host."""
        name = f".deskside-verify-{self.nonce}"
        written = await self.user.run_cell(_WRITE.format(name=name, nonce=self.nonce))
        if written.strip() != self.nonce:
            raise CheckFailed(f"the home could not be written: {written.strip()!r}")
        first = await self._node()
        workers = [host.name for host in self.test.site.workers]
        async with AsyncExitStack() as cordon:
            if len(workers) > 1:
                # Registered before it is done: a cordon that was cut off half-way may hold all the same.
                hint = f"run: kubectl uncordon {first}"
                cordon.push_async_callback(self._shielded, lambda: self._uncordon(first), hint)
                await self._cordon(first)
            await self.user.stop(self.test.report)
            assert self.choice is not None
            await self.user.start(self.choice.slug, self.test.report)
            second = await self._node()
            found = await self.user.run_cell(_READ.format(name=name))
        if found.strip() != self.nonce:
            raise CheckFailed(
                f"the file written on {first} is not in the home on {second}",
                hint="is the home mounted? run: deskside check",
            )
        if len(workers) > 1 and first == second:
            raise CheckFailed(
                f"the desk came back on {first}, which was cordoned", hint="run: deskside status"
            )
        return f"written on {first}, read on {second}"

    async def _stop_leftover(self) -> None:
        if await self.user.has_desk():
            raise CheckFailed(
                f"{self.user.name} has a desk already, and it is not this test's to stop",
                hint=f"stop it at {self.test.url}, or name another verify.user",
            )

    async def _node(self) -> str:
        argv = (
            *KUBECTL,
            "get",
            "pods",
            "-n",
            HUB_NAMESPACE,
            "-l",
            "component=singleuser-server",
            "-o",
            "json",
        )
        output = await self.test.server.read(ReadOutput(argv))
        if output.status != 0:
            raise CheckFailed(f"the cluster does not say where the desk runs: {output.stderr.strip()}")
        for pod in json.loads(output.stdout)["items"]:
            owner = pod["metadata"].get("annotations", {}).get("hub.jupyter.org/username")
            if owner == self.user.name and pod["status"].get("phase") == "Running":
                return str(pod["spec"]["nodeName"])
        raise CheckFailed(f"no running desk of {self.user.name} is known to the cluster")

    async def _cordon(self, node: str) -> None:
        self.test.report(f"keeping new desks off {node} for the test")
        await self._kubectl("cordon", node)

    async def _uncordon(self, node: str) -> None:
        await self._kubectl("uncordon", node)

    async def _kubectl(self, *words: str) -> None:
        title = f"kubectl {shlex.join(words)}"
        await self.test.server.perform([RunCommand((*KUBECTL, *words))], title=title, deadline=60)

    async def _shielded(self, put_back: Callable[[], Awaitable[None]], hint: str) -> None:
        # An interrupted test must still put things back: a second interruption ends this too. What cannot be
        # put back is a finding of its own, so that it hides no other.
        started = monotonic()
        try:
            async with asyncio.timeout(PUT_BACK_SECONDS):
                await asyncio.shield(asyncio.ensure_future(put_back()))
        except Exception as error:
            if not (isinstance(error, DesksideError | TimeoutError) or _from_network(error)):
                raise
            self.test.not_put_back(f"{error or 'it took too long'}", hint, started)


def login_of(person: Person | None, password: Secret | None) -> Login | None:
    """The login of a person of the site file."""
    return Login(person.name, password) if person is not None else None


def _from_network(error: Exception) -> bool:
    import httpx
    from websockets.exceptions import WebSocketException

    return isinstance(error, httpx.HTTPError | WebSocketException | OSError)


# The nonce is printed by the desk from the file itself, so that an echo of the code is no proof.
_WRITE = """
import pathlib
file = pathlib.Path.home() / {name!r}
for left in file.parent.glob(".deskside-verify-*"):
    left.unlink()
file.write_text({nonce!r})
print(file.read_text())
"""
_READ = """
import pathlib
file = pathlib.Path.home() / {name!r}
print(file.read_text() if file.exists() else "absent")
file.unlink(missing_ok=True)
"""
