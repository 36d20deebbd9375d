"""A look at a log-in that a provider of OpenID Connect does: as far as it goes without a person.

Nobody can fill in a provider's page for somebody with a second factor. That the page comes at all says that
the provider takes the hub's client, its scopes and its callback. What comes after it is tried with a
token that the hub lends.
"""

from __future__ import annotations

from deskside.app.hub import HubUser
from deskside.errors import CheckFailed
from deskside.identity.hub_programs import IN_HUB
from deskside.identity.lending import Lent, lending_answer, lending_input, lending_program, taken_back
from deskside.model.query import ReadOutput
from deskside.model.resource import HostReader
from deskside.resources.release import KUBECTL

SECONDS = "8"
LENDING_SECONDS = 60.0


async def leads_to_provider(url: str, server: HostReader) -> str:
    """Where the log-in button leads, asked from a server. Raises CheckFailed."""
    async with HubUser(url, "nobody") as hub:
        status, place = await hub.log_in_page()
    if status != 302 or not place.startswith("https://"):
        raise CheckFailed(
            f"the log-in button leads nowhere (HTTP {status})",
            hint="does the hub reach the provider? run: deskside check",
        )
    # The certificate is what `check` looks at, with the authority of the site file; nothing secret is sent.
    argv = ("curl", "-sk", "-m", SECONDS, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", place)
    answer = await server.read(ReadOutput(argv))
    return judged(answer.stdout, place.partition("?")[0])


def judged(printed: str, place: str) -> str:
    """What `status redirect` of the provider's answer means. Raises CheckFailed."""
    code, _, onward = printed.strip().partition(" ")
    if code in ("", "000"):
        raise CheckFailed(f"{place} does not answer", hint="run: deskside check")
    if not code.startswith(("2", "3")) or "error=" in onward:
        why = onward.partition("error=")[2].partition("&")[0] or f"HTTP {code}"
        raise CheckFailed(
            f"the provider refuses the hub's log-in: {why}",
            hint="identity.client_id, the redirect URI and the scopes; see: deskside handout okta",
        )
    return f"the log-in button leads to the provider's page ({place})"


async def borrowed(server: HostReader, name: str) -> Lent:
    """A token of somebody, lent by the hub. Raises CheckFailed."""
    return lending_answer(name, await _in_hub(server, lending_input(name)))


async def given_back(server: HostReader, name: str, lent: Lent) -> None:
    """Let the hub take its token back. Raises CheckFailed."""
    taken_back(name, await _in_hub(server, lending_input(name, lent.id)))


async def _in_hub(server: HostReader, given: str) -> str:
    # A question, though it makes a token: what a question is answered stays on no host.
    argv = (*KUBECTL, *IN_HUB, *lending_program())
    output = await server.read(ReadOutput(argv, given, timeout=LENDING_SECONDS))
    if output.status != 0:
        raise CheckFailed(f"the hub's pod does not answer: {output.stderr.strip()}")
    return output.stdout
