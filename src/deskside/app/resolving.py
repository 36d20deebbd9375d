"""The check `names` of the acceptance test: every name and address of the site, looked up from every host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from deskside.errors import CheckFailed
from deskside.model.resource import HostReader
from deskside.site.schema import Site
from deskside.steps.resolving import expected_answers, names_question, wrong_answers

MOST = 3
"""Wrong answers that are named."""


async def names_resolve(site: Site, hosts: Mapping[str, HostReader]) -> str:
    """What was seen. Raises CheckFailed with the first wrong answers, by host."""
    question = names_question(site)
    answers = await asyncio.gather(*(host.read(question) for host in hosts.values()))
    wrong = [
        f"on {name}, {said}"
        for name, answer in zip(hosts, answers, strict=True)
        for said in wrong_answers(site, answer)
    ]
    if wrong:
        more = f" (and {len(wrong) - MOST} more)" if len(wrong) > MOST else ""
        provider = site.network.dns.provider if site.network.dns else ""
        hint = "run: deskside plan" if provider == "dnsmasq" else f"set the records on the {provider}"
        raise CheckFailed(f"{'; '.join(wrong[:MOST])}{more}", hint=hint)
    return f"{len(expected_answers(site))} names and addresses resolve on {len(hosts)} hosts"
