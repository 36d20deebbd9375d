"""The check `host login` of the acceptance test: a person of the directory is the same user on every host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from deskside.errors import CheckFailed
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import HostReader
from deskside.site.schema import Site
from deskside.steps.host_login import may_log_in


async def same_person_everywhere(site: Site, user: str, hosts: Mapping[str, HostReader]) -> str:
    """What was seen. Raises CheckFailed where a host does not know the user, or by another number."""
    asked = {spec.name: hosts[spec.name] for spec in site.nodes if spec.name in hosts}
    question = ReadOutput(("sh", "-c", 'getent passwd "$1" && id -Gn "$1"', "sh", user))
    answers = await asyncio.gather(*(host.read(question) for host in asked.values()))
    numbers = {name: _number(answer) for name, answer in zip(asked, answers, strict=True)}
    hint = "run: deskside plan, and look on the host: journalctl -u sssd"
    if strangers := [name for name, number in numbers.items() if not number]:
        raise CheckFailed(f"{user} is not known on {', '.join(strangers)}", hint=hint)
    if len(set(numbers.values())) > 1:
        said = ", ".join(f"{number} on {name}" for name, number in numbers.items())
        raise CheckFailed(
            f"{user} is {said}", hint=f"remove the local account {user} where it is not the directory's"
        )
    assert site.ldap is not None
    wanted = may_log_in(site.ldap)
    groups = {name: set(answer.stdout.split()) for name, answer in zip(asked, answers, strict=True)}
    if outside := [name for name, found in groups.items() if not found & set(wanted)]:
        raise CheckFailed(
            f"{user} is not in {' or '.join(wanted)} on {', '.join(outside)}, so SSH lets nobody in",
            hint="identity.group_class: of what object class are the directory's groups?",
        )
    return f"{user} is user {next(iter(numbers.values()), '')} on {len(numbers)} hosts"


def _number(answer: Output) -> str:
    fields = answer.stdout.partition("\n")[0].split(":")
    return fields[2] if answer.status == 0 and len(fields) > 3 else ""
