"""What a desk must not reach: the places that `verify` tries in vain, and the program that tries them.

A desk that could speak to a server of files under its host's address would read everybody's homes.
"""

from __future__ import annotations

from deskside.errors import CheckFailed
from deskside.site.schema import Site

SECONDS = 3.0
"""How long one connection may take: a packet that is dropped is answered by nobody."""
SHELL, KUBELET, SMB, NFS = 22, 10250, 445, 2049
TRY = """
import concurrent.futures, socket
def reached(place):
    try:
        socket.create_connection(place, {seconds}).close()
    except OSError:
        return False
    return True
places = {places!r}
with concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
    answers = list(pool.map(reached, places))
print(answers.count(False), *(f"{{host}}:{{port}}" for (host, port), yes in zip(places, answers) if yes))
"""
"""Prints how many places could not be reached, then those that could."""


def closed_to_desks(site: Site) -> tuple[tuple[str, int], ...]:
    """Shells and kubelets of all nodes; shells and file services of all storage hosts."""
    nodes = [(str(spec.address), port) for spec in site.nodes for port in (site.admin.port or SHELL, KUBELET)]
    stores = [(str(spec.address), port) for spec in site.storage_hosts for port in (SHELL, SMB, NFS)]
    return tuple(dict.fromkeys((*nodes, *stores)))


def cell_that_tries(places: tuple[tuple[str, int], ...]) -> str:
    """A cell of Python for the desk."""
    return TRY.format(seconds=SECONDS, places=places)


def judged(printed: str, places: tuple[tuple[str, int], ...]) -> str:
    """What the cell's output means. Raises CheckFailed where a place could be reached."""
    count, _, reached = printed.strip().partition(" ")
    if reached:
        raise CheckFailed(f"a desk can reach {', '.join(reached.split())}", hint="run: deskside plan")
    if count != str(len(places)):
        raise CheckFailed(f"whether a desk reaches the hosts is not known: it printed {printed.strip()!r}")
    return f"a desk reaches no shell, no kubelet and no files ({len(places)} places tried)"
