"""The small values that a site file is made of: ranges, sizes, exports, addresses of a directory, names.

They exist so that no other file splits strings. Each parses from the text that a person writes, says in one
sentence what is wrong with it and what to write instead, and prints itself as it was written. Nothing here
knows a host, a file or another section: rules between fields live in `rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
USERNAME = r"^[a-z][.a-z0-9_-]*$"
ROOT_GROUPS = ("root", "sudo", "admin", "wheel", "adm", "docker", "lxd", "libvirt", "disk", "shadow")
"""Groups by whose names hosts give rights to their members: none of a directory is taken for one of them."""
GROUP_NAME = r"[A-Za-z][A-Za-z0-9 ._-]{0,62}"


def wrong(message: str, remedy: str) -> PydanticCustomError:
    """A problem with one value: what is wrong with it, and what to write instead."""
    return PydanticCustomError("deskside", "{message}", {"message": message, "remedy": remedy})


def _label(text: str) -> str:
    if re.fullmatch(LABEL, text):
        return text
    raise wrong(
        f"{text!r} is no DNS label",
        "use up to 63 of a-z, 0-9 and '-', with a letter or digit at both ends, as ws1",
    )


def _domain(text: str) -> str:
    if len(text) <= 253 and all(re.fullmatch(LABEL, label) for label in text.split(".")):
        return text
    raise wrong(
        f"{text!r} is no domain name",
        "use DNS labels (a-z, 0-9, '-') joined by dots, as lab.example",
    )


def _matching(pattern: str, what: str, remedy: str) -> AfterValidator:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text):
            return text
        raise wrong(f"{text!r} is no {what}", remedy)

    return AfterValidator(check)


def _mac(text: str) -> str:
    digits = re.sub(r"[:-]", "", text.lower())
    if not re.fullmatch(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", text.lower()):
        raise wrong(f"{text!r} is no MAC address", 'write six bytes, as "02:00:00:00:00:11"')
    if int(digits[:2], 16) & 1 or not int(digits, 16):
        raise wrong(f"{text!r} is no address of one network card", "copy it from: ip link show")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _opening(text: str) -> str:
    found = re.fullmatch(r"(tcp|udp)/(\d{1,5})(?:-(\d{1,5}))?", text)
    ports = [int(port) for port in found.groups()[1:] if port] if found else []
    if not ports or not all(1 <= port <= 65535 for port in ports) or ports != sorted(ports):
        raise wrong(f"{text!r} names no port", "write tcp/8080, udp/5353, or a range: tcp/8000-8010")
    return text


def _absolute(text: str) -> str:
    path = PurePosixPath(text)
    if not text.startswith("/") or ".." in path.parts:
        raise wrong(f"{text!r} is no absolute path", "begin it with '/', without '..', as /data")
    # It stands in units, mounts and settings of other programs, and each would quote the rest its own way.
    if not re.fullmatch(r"[A-Za-z0-9/._@:+-]*", text):
        raise wrong(
            f"{text!r} has characters that no path here may have", "use letters, digits and ._@:+- only"
        )
    return str(path)


def _dn(text: str) -> str:
    part = r"[A-Za-z][A-Za-z0-9-]*=[^,=+<>#;\"\\{}]+"
    if re.fullmatch(rf"{part}(,\s*{part})*", text) and "dc=" in text.lower() and text.isprintable():
        return text
    raise wrong(
        f"{text!r} is no distinguished name of a directory",
        "write attribute=value pairs that end in dc=..., as cn=ai,cn=groups,dc=lab,dc=example",
    )


def _group(text: str) -> str:
    if "=" in text:
        return _dn(text)
    if re.fullmatch(GROUP_NAME, text):
        return text
    raise wrong(
        f"{text!r} is no name of a group",
        "write its name, as ai, or its distinguished name, as cn=ai,cn=groups,dc=lab,dc=example",
    )


def _issuer(text: str) -> str:
    try:
        url = urlsplit(text)
        port = f":{url.port}" if url.port else ""
    except ValueError:
        url, port = urlsplit(""), ""
    names = [re.fullmatch(LABEL, label) for label in str(url.hostname).split(".")]
    plain = url.scheme == "https" and url.netloc == f"{url.hostname}{port}" and all(names)
    if plain and not url.query and not url.fragment and re.fullmatch(r"[\w./~-]*", url.path):
        return text.rstrip("/")
    raise wrong(
        f"{text!r} is no issuer",
        "write what the provider's discovery document names, as https://lab.okta.com/oauth2/default",
    )


Label = Annotated[str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": f"^{LABEL}$"})]
Domain = Annotated[
    str, AfterValidator(_domain), WithJsonSchema({"type": "string", "pattern": rf"^{LABEL}(\.{LABEL})*$"})
]
Opening = Annotated[
    str,
    AfterValidator(_opening),
    WithJsonSchema({"type": "string", "pattern": "^(tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?$"}),
]
"""A protocol and a port or a range of them: `tcp/8080`."""
Mac = Annotated[
    str,
    AfterValidator(_mac),
    WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"}),
]
AbsolutePath = Annotated[str, AfterValidator(_absolute), WithJsonSchema({"type": "string", "pattern": "^/"})]
"""A path on a host; begins with a slash, has no `..` and no slash at its end."""
Dn = Annotated[str, AfterValidator(_dn), WithJsonSchema({"type": "string", "pattern": "[Dd][Cc]="})]
GroupField = Annotated[str, AfterValidator(_group), WithJsonSchema({"type": "string"})]
"""A group: its distinguished name, or its name alone."""
Issuer = Annotated[str, AfterValidator(_issuer), WithJsonSchema({"type": "string", "pattern": "^https://"})]
"""Of an OpenID Connect provider; without a slash at its end."""
Username = Annotated[
    str,
    _matching(USERNAME, "name of a user", "use small letters, digits, '.', '_' and '-', with a letter first"),
    WithJsonSchema({"type": "string", "pattern": USERNAME}),
]
ClientId = Annotated[
    str,
    _matching(r"[\w.~-]{1,128}", "identifier of a client", "copy it from the provider's page of the client"),
    WithJsonSchema({"type": "string"}),
]
ImageName = Annotated[
    str,
    _matching(
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*(:[\w.-]{1,128})?(@sha256:[0-9a-f]{64})?",
        "name of a container image",
        "write registry/name:tag, as quay.io/jupyter/base-notebook:2026-11-02",
    ),
    WithJsonSchema({"type": "string"}),
]
Values = Annotated[Mapping[str, JsonValue], WithJsonSchema({"type": "object"})]
"""Values for a chart: free, never looked into, passed through last."""


@dataclass(frozen=True)
class AddressRange:
    """Addresses from `first` to `last`, both included; parsed from `10.20.0.200-10.20.0.220`."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, text: object) -> AddressRange:
        """Read `first-last`, or one address alone; raises a problem with a remedy."""
        if isinstance(text, AddressRange):
            return text
        first, _, last = str(text).partition("-")
        try:
            found = cls(IPv4Address(first.strip()), IPv4Address((last or first).strip()))
        except ValueError:
            found = None
        if found is None or found.first > found.last:
            raise wrong(
                f"{str(text)!r} is no range of addresses",
                "write the first and the last address, as 10.20.0.200-10.20.0.220",
            )
        return found

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def within(self, network: IPv4Network) -> bool:
        """Whether every address of the range belongs to the network."""
        return self.first in network and self.last in network

    def overlaps(self, network: IPv4Network) -> bool:
        """Whether the range and the network share an address."""
        return self.first <= network.broadcast_address and network.network_address <= self.last


@dataclass(frozen=True)
class Memory:
    """An amount of memory, parsed from Kubernetes' own form: `512Mi`, `4Gi`, `1Ti`."""

    text: str

    @classmethod
    def parse(cls, text: object) -> Memory:
        """Read `NUMBER` with `Mi`, `Gi` or `Ti`; raises a problem with a remedy."""
        if isinstance(text, Memory):
            return text
        if re.fullmatch(r"[1-9][0-9]{0,5}(Mi|Gi|Ti)", str(text)):
            return cls(str(text))
        number = re.match(r"[1-9][0-9]{0,5}", str(text))
        raise wrong(
            f"{str(text)!r} is no amount of memory",
            f"write a whole number with Mi, Gi or Ti, as {number[0] if number else 4}Gi",
        )

    def __str__(self) -> str:
        return self.text

    @property
    def bytes(self) -> int:
        """The amount in bytes."""
        return int(self.text[:-2]) << {"Mi": 20, "Gi": 30, "Ti": 40}[self.text[-2:]]


@dataclass(frozen=True)
class Export:
    """A folder that a storage host offers over NFS; parsed from `nas:/volume1/homes`."""

    host: str
    """Name of a host of the site file, not of the DNS."""
    path: str

    @classmethod
    def parse(cls, text: object) -> Export:
        """Read `host:/path`; raises a problem with a remedy."""
        if isinstance(text, Export):
            return text
        host, _, path = str(text).partition(":")
        if re.fullmatch(LABEL, host) and re.fullmatch(r"(/[\w.-]+)+/?", path) and ".." not in path.split("/"):
            return cls(host, path.rstrip("/"))
        raise wrong(
            f"{str(text)!r} names no folder of a host",
            "write the name of a storage host, a colon and the exported path, as nas:/volume1/homes",
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.path}"


@dataclass(frozen=True)
class LdapServer:
    """Where a directory answers; parsed from `ldaps://nas.lab.example` or `ldap://nas.lab.example:389`."""

    scheme: Literal["ldap", "ldaps"]
    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> LdapServer:
        """Read an LDAP URL that has nothing but scheme, host and port; raises a problem with a remedy."""
        if isinstance(text, LdapServer):
            return text
        try:
            url = urlsplit(str(text))
            port = url.port
        except ValueError:
            url, port = urlsplit(""), None
        known = (
            url.scheme in ("ldap", "ldaps") and url.netloc == f"{url.hostname}{f':{port}' if port else ''}"
        )
        if (
            not known
            or url.path.strip("/")
            or not all(map(re.compile(LABEL).fullmatch, str(url.hostname).split(".")))
        ):
            raise wrong(
                f"{str(text)!r} is no address of a directory",
                "write ldaps://NAME, or ldap://NAME for StartTLS; the name must stand in its certificate",
            )
        scheme: Literal["ldap", "ldaps"] = "ldaps" if url.scheme == "ldaps" else "ldap"
        return cls(scheme, str(url.hostname), port or (636 if scheme == "ldaps" else 389))

    def __str__(self) -> str:
        usual = self.port == (636 if self.scheme == "ldaps" else 389)
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")

    @property
    def starttls(self) -> bool:
        """Whether TLS begins after connecting (`ldap://`) and not with the connection (`ldaps://`)."""
        return self.scheme == "ldap"


RangeField = Annotated[
    AddressRange,
    BeforeValidator(AddressRange.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
MemoryField = Annotated[
    Memory,
    BeforeValidator(Memory.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,5}(Mi|Gi|Ti)$"}),
]
ExportField = Annotated[
    Export,
    BeforeValidator(Export.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9-]+:/"}),
]
LdapField = Annotated[
    LdapServer,
    BeforeValidator(LdapServer.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^ldaps?://"}),
]
