"""The acceptance test, as a real user: over the users' address, from a place that is not a node.

Every check ends in a finding. What a check changed (a desk, a cordon, a file) is put back, also when it is
interrupted. This file knows the order of the checks; the way of one user's desk is in `desk.py`, how a user
talks to the hub in `hub.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic

from deskside.app.desk import HUB_NAMESPACE, Desk, from_network
from deskside.app.host_login import same_person_everywhere
from deskside.app.hub import HubUser
from deskside.app.provider_login import leads_to_provider
from deskside.app.resolving import names_resolve
from deskside.errors import CheckFailed, DesksideError
from deskside.model.finding import Finding, Outcome
from deskside.model.query import ReadOutput
from deskside.model.resource import HostReader, HostWriter
from deskside.resources.release import KUBECTL
from deskside.site.schema import Site
from deskside.site.secrets import Secret

AT_DESK = ("desk", "cell", "firewall", "home", "firewall elsewhere")
AS_USER = ("log in", "profiles", *AT_DESK)
BY_PROVIDER = ("log in", "token", *AT_DESK)
"""Where a provider logs people in: what comes of a password, and its refusals, are seen on its own page."""


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
        by_provider = self.site.identity.kind == "okta"
        if not await self._check("address", self._address):
            rest = BY_PROVIDER if by_provider else ("wrong password", "outsider", *AS_USER)
            self._not_run(self._wanted(rest), "the hub does not answer")
        elif by_provider:
            await self._by_provider()
        else:
            await self._by_password()
        return tuple(self.findings)

    async def _by_password(self) -> None:
        await self._strangers()
        if self.user is None or self.user.password is None:
            self._not_run(
                self._wanted(AS_USER),
                "nobody to log in as",
                "set verify.user in the site file, or run it on a terminal",
            )
            return
        password = self.user.password
        async with AsyncExitStack() as put_back:
            desk = Desk(self, await put_back.enter_async_context(HubUser(self.url, self.user.name)), put_back)
            first = {"log in": lambda: desk.log_in(password), "profiles": desk.profiles}
            await self._in_turn({**first, **self._at_desk(desk)})

    async def _by_provider(self) -> None:
        if not await self._check("log in", lambda: leads_to_provider(self.url, self.server)):
            self._not_run(self._wanted(BY_PROVIDER[1:]), "log in did not pass")
        elif self.user is None:
            hint = "set verify.user in the site file: a name is enough"
            self._not_run(self._wanted(BY_PROVIDER[1:]), "nobody to work as", hint)
        else:
            async with AsyncExitStack() as put_back:
                user = await put_back.enter_async_context(HubUser(self.url, self.user.name))
                desk = Desk(self, user, put_back)
                await self._in_turn({"token": desk.borrow, **self._at_desk(desk)})

    def _at_desk(self, desk: Desk) -> Mapping[str, Callable[[], Awaitable[str]]]:
        # Each host closes its own desks in: after `home` the desk stands on another one.
        ways = (desk.start, desk.cell, desk.firewall, desk.home, desk.firewall)
        steps = dict(zip(AT_DESK, ways, strict=True))
        return {name: steps[name] for name in self._wanted(AT_DESK)}

    def _wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Without what the site has not."""
        left_out: set[str] = set()
        if not self.site.network.firewall.enabled:
            left_out = {"firewall", "firewall elsewhere"}
        elif len(self.site.workers) < 2:
            left_out = {"firewall elsewhere"}
        return tuple(name for name in names if name not in left_out)

    async def _in_turn(self, steps: Mapping[str, Callable[[], Awaitable[str]]]) -> None:
        """Up to the first that does not pass."""
        names = tuple(steps)
        for position, name in enumerate(names):
            if not await self._check(name, steps[name]):
                self._not_run(names[position + 1 :], f"{name} did not pass")
                return

    async def _strangers(self) -> None:
        if self.user is not None:
            await self._check("wrong password", self._wrong_password)
        else:
            self._not_run(("wrong password",), "nobody to try it as", "set verify.user in the site file")
        if self.outsider is not None and self.outsider.password is not None:
            await self._check("outsider", self._outsider_refused)
        else:
            self._not_run(("outsider",), "no outsider is known", "set verify.outsider in the site file")

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
            if not from_network(error):
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
