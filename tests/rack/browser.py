"""A real browser, as a person has one: Debian's Chromium, driven without a window.

Names of the site are led to the rack's addresses, and the NAS's certificate is known to it by its key alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Page, expect, sync_playwright

from rack.platforms import OnRack

PROGRAM = "/usr/bin/chromium"
PATIENCE = 30_000
"""Milliseconds for one thing to appear."""


def install_chromium() -> None:
    """By apt, and not without saying so."""
    if shutil.which(PROGRAM):
        return
    print("installing Debian's chromium on this machine, for tests with a browser", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (("update",), ("-y", "--no-install-recommends", "install", "chromium", "fonts-dejavu-core")):
        subprocess.run(["apt-get", "-q", *words], env=environment, check=True, capture_output=True)


def _known_key(pem: str) -> str:
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    found = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(found).digest()).decode()


@contextmanager
def browser(platform: OnRack, certificate: str = "") -> Iterator[Page]:
    """A fresh browser of somebody who has never been here; `certificate` is the provider's, as PEM."""
    install_chromium()
    layout = platform.rack.layout
    hub = layout.load_balancer.partition("-")[0]
    names = f"MAP notebooks.{layout.domain} {hub},MAP nas.{layout.domain} {platform.rack.host('nas').address}"
    words = [f"--host-resolver-rules={names}", "--no-proxy-server", "--disable-component-update"]
    if certificate:
        words.append(f"--ignore-certificate-errors-spki-list={_known_key(certificate)}")
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=PROGRAM, args=words)
        try:
            page = running.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            yield page
        finally:
            running.close()
