"""Ubuntu 24.04: what its packages are called."""

from __future__ import annotations

from deskside.model.platform import HostOs
from deskside.oses.debian import DEBIAN

UBUNTU = HostOs(
    id="ubuntu",
    versions=("24.04",),
    # Ubuntu takes these packages from Debian under the same names.
    packages=DEBIAN.packages,
    verified="Ubuntu 24.04 has been planned against recorded answers of a host only; nothing has run on it.",
)
