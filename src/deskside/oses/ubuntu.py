"""Ubuntu 22.04, 24.04 and 26.04: what their packages are called."""

from __future__ import annotations

from deskside.model.platform import HostOs
from deskside.oses.debian import DEBIAN

UBUNTU = HostOs(
    id="ubuntu",
    versions=("22.04", "24.04", "26.04"),
    # Ubuntu takes these packages from Debian under the same names.
    packages=DEBIAN.packages,
    security=(
        "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
        "origin=UbuntuESMApps,archive=${distro_codename}-apps-security,label=UbuntuESMApps",
        "origin=UbuntuESM,archive=${distro_codename}-infra-security,label=UbuntuESM",
    ),
    verified="Ubuntu 22.04, 24.04 and 26.04 have been planned against recorded answers of a host only; "
    "nothing has run on them.",
)
