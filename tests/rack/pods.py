"""A pod on every host, as whoever has a desk could make of it: it tries ports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rack.platforms import OnRack
from rack.stranger import SCAN

LABEL = "deskside-test=tries"
ANY_ADDRESS = "0.0.0.0"
"""The program of a stranger binds its own address first; a pod has one alone."""


@dataclass
class Pods:
    """One pod per host."""

    rack: OnRack
    nodes: tuple[str, ...]

    def open_ports(self, node: str, host: str, ports: Sequence[int]) -> set[int]:
        """Which of these TCP ports of an address the pod on that node is let in to."""
        question = json.dumps([ANY_ADDRESS, host, list(ports)])
        argv = ("exec", "--stdin", _name(node), "--", "python3", "-c", SCAN)
        return set(json.loads(self.rack.kubectl(*argv, stdin=question)))


@contextmanager
def pods_on(platform: OnRack, *nodes: str) -> Iterator[Pods]:
    """Pods that are ready, on these hosts; gone at the end."""
    words = ("get", "deployment", "hub", "-n", "jupyterhub", "-o", "jsonpath={..containers[0].image}")
    # Every host has the image of the hub, and Python is in it.
    image = platform.kubectl(*words).strip()
    listed = {"apiVersion": "v1", "kind": "List", "items": [_pod(node, image) for node in nodes]}
    try:
        platform.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
        platform.kubectl("wait", "--for=condition=Ready", "pod", "-l", LABEL, "--timeout=120s")
        yield Pods(platform, nodes)
    finally:
        platform.kubectl("delete", "pod", "-l", LABEL, "--timeout=60s")


def _name(node: str) -> str:
    return f"tries-{node}"


def _pod(node: str, image: str) -> dict[str, object]:
    key, _, value = LABEL.partition("=")
    container = {
        "name": "tries",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", "import time; time.sleep(3600)"],
    }
    spec = {
        "nodeName": node,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    metadata = {"name": _name(node), "labels": {key: value}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
