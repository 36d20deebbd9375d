"""Days that the certificates of a kubeadm cluster have left, from kubeadm's report and the kubelet's file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from deskside.model.platform import Certificate, Host
from deskside.model.query import Output, ReadOutput

KUBELET_FILE = "/var/lib/kubelet/pki/kubelet-client-current.pem"


def questions(host: Host) -> tuple[ReadOutput, ...]:
    """The report of kubeadm on a server, and the end of the kubelet's own certificate everywhere."""
    kubelet = ReadOutput(
        ("openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", KUBELET_FILE)
    )
    if not host.spec.is_server:
        return (kubelet,)
    report = ("/opt/deskside/bin/kubeadm", "certs", "check-expiration", "-o", "json")
    return (kubelet, ReadOutput(report))


def answers(host: Host, outputs: Sequence[Output]) -> tuple[Certificate, ...]:
    """What was found; a question that failed (nothing has joined yet) gives nothing."""
    kubelet, *reports = outputs
    found: list[Certificate] = []
    if kubelet.status == 0:
        ends = datetime.fromisoformat(kubelet.stdout.strip().removeprefix("notAfter="))
        found.append(Certificate(host.name, "kubelet", ends.timestamp()))
    for report in reports:
        if report.status == 0 and report.stdout.lstrip().startswith("{"):
            document = json.loads(report.stdout)
            for item in (*document.get("certificates", ()), *document.get("certificateAuthorities", ())):
                if not item.get("missing"):
                    ends = datetime.fromisoformat(item["expirationDate"])
                    found.append(Certificate(host.name, str(item["name"]), ends.timestamp()))
    return tuple(found)
