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
import concurrent.futures, os, socket, urllib.parse
def reached(place):
    try:
        socket.create_connection(place, {seconds}).close()
    except OSError:
        return False
    return True
places = {places!r}
hub = urllib.parse.urlsplit(os.environ["JUPYTERHUB_API_URL"])
print({control!r} if reached((hub.hostname, hub.port or 80)) else "nothing", end=" ")
with concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
    answers = list(pool.map(reached, places))
print(answers.count(False), *(f"{{host}}:{{port}}" for (host, port), yes in zip(places, answers) if yes))
"""
"""Prints whether the hub was reached, how many places were not, then those that were."""
CONTROL = "hub"
"""The place that every desk reaches: a desk without any network would find everything closed."""


def closed_to_desks(site: Site) -> tuple[tuple[str, int], ...]:
    """Shells and kubelets of all nodes; shells and file services of all storage hosts."""
    nodes = [(str(spec.address), port) for spec in site.nodes for port in (site.admin.port or SHELL, KUBELET)]
    stores = [(str(spec.address), port) for spec in site.storage_hosts for port in (SHELL, SMB, NFS)]
    return tuple(dict.fromkeys((*nodes, *stores)))


def cell_that_tries(places: tuple[tuple[str, int], ...]) -> str:
    """A cell of Python for the desk."""
    return TRY.format(seconds=SECONDS, places=places, control=CONTROL)


def judged(printed: str, places: tuple[tuple[str, int], ...], node: str) -> str:
    """What the cell of a desk on that node printed. Raises CheckFailed where a place could be reached."""
    control, _, rest = printed.strip().partition(" ")
    count, _, reached = rest.partition(" ")
    if reached:
        places_reached = ", ".join(reached.split())
        raise CheckFailed(f"a desk on {node} can reach {places_reached}", hint="run: deskside plan")
    if control != CONTROL:
        raise CheckFailed(
            f"whether a desk on {node} reaches the hosts is not known: not even the hub, {printed.strip()!r}",
            hint="look at the network of the pods: deskside check network",
        )
    if count != str(len(places)):
        raise CheckFailed(
            f"whether a desk on {node} reaches the hosts is not known: it printed {printed.strip()!r}"
        )
    return f"a desk on {node} reaches no shell, no kubelet and no files ({len(places)} places tried)"
