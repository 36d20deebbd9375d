"""Do the site's names resolve? Asked of the name server itself from a host, whatever the host's files say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from deskside.model.query import Json, Output, ReadOutput, object_of
from deskside.site.schema import Site
from deskside.steps.names import APPS

SECONDS = 2.0
"""How long one answer may take; each question is put twice."""


def expected_answers(site: Site) -> dict[str, str]:
    """Name -> address, and address -> full name; a name below the wildcard stands for all of them."""
    forward = {names[0]: address for address, names in site.records}
    reverse = {address: names[0] for address, names in site.records}
    wildcard = {f"any.{APPS}.{site.name}": str(site.network.load_balancer.first)}
    return {**forward, **wildcard, **reverse}


def names_question(site: Site) -> ReadOutput:
    """Ask for every name and address of the site. Only for a site with a name server."""
    forward = [name for name in expected_answers(site) if not name.replace(".", "").isdigit()]
    addresses: list[Json] = [address for address, _ in site.records]
    question: Json = {
        "server": str(site.dns_server),
        "names": list(forward),
        "addresses": addresses,
        "seconds": SECONDS,
    }
    text = Path(__file__).with_name("dns_probe.py").read_text()
    return ReadOutput(("python3", "-c", text), json.dumps(question), 90.0)


def wrong_answers(site: Site, output: Output) -> Iterator[str]:
    """What the server said that the site file does not, one phrase each; one phrase where it is silent."""
    found = object_of(output)
    if found is None:
        yield f"the name server {site.dns_server} could not be asked"
        return
    if all(answer is None for answer in found.values()):
        yield f"the name server {site.dns_server} does not answer"
        return
    for asked, wanted in expected_answers(site).items():
        answer = found.get(asked)
        if answer != [wanted]:
            said = ", ".join(map(str, answer)) if isinstance(answer, list) and answer else "nothing"
            yield f"{asked} leads to {said} instead of {wanted}"
