"""systemd of the fake host: units by their files, started by `systemctl`. Part of `fake.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deskside.hosts.fake_files import FakeFiles, Refused, Unmodelled
from deskside.model.query import Json, Output

PLACES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
DONE = Output(0, "", "")


@dataclass
class Running:
    """How a unit is."""

    active: str = "inactive"
    started: float = 0.0
    loaded: float = 0.0
    """When systemd read its files."""


@dataclass
class FakeUnits:
    """Units of a host. What a unit does when it starts is `on_start`; those in `broken` fail to."""

    files: FakeFiles
    running: dict[str, Running] = field(default_factory=dict)
    on_start: dict[str, Callable[[], None]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def path(self, name: str) -> str:
        """The file of a unit; a template's for its instances; empty without one."""
        stem, at, rest = name.partition("@")
        template = f"{stem}@.{rest.rpartition('.')[2]}" if at else name
        for wanted in (name, template):
            for place in PLACES:
                if self.files.at(f"{place}/{wanted}") is not None:
                    return f"{place}/{wanted}"
        return ""

    def masked(self, name: str) -> bool:
        """Whether it may never start."""
        node = self.files.at(self.path(name)) if self.path(name) else None
        return node is not None and node.kind == "link" and node.target == "/dev/null"

    def changed(self, name: str) -> float:
        """When its file or a drop-in was last written."""
        stamps = [0.0]
        node = self.files.nodes.get(self.files.followed(self.path(name))) if self.path(name) else None
        if node is not None:
            stamps.append(node.mtime)
        for place in PLACES:
            names = self.files.children(f"{place}/{name}.d")
            found = [self.files.at(f"{place}/{name}.d/{item}") for item in names if item.endswith(".conf")]
            stamps += [item.mtime for item in found if item is not None]
        return max(stamps)

    def answer(self, name: str) -> dict[str, Json]:
        """Op `unit`."""
        how = self.running.get(name, Running())
        load = "masked" if self.masked(name) else "loaded" if self.path(name) else "not-found"
        stale = how.active == "active" and self.changed(name) > how.loaded
        return {
            "load": load,
            "active": how.active,
            "enabled": self.enabled(name),
            "started": how.started,
            "needs_reload": stale,
        }

    def enabled(self, name: str) -> str:
        """Systemd's word."""
        if not self.path(name):
            return ""
        if self.masked(name):
            return "masked"
        if any(self.files.at(link) is not None for link in self.links(name)):
            return "enabled"
        return "disabled" if "[Install]" in self.files.text(self.path(name)) else "static"

    def links(self, name: str) -> list[str]:
        """The links that enabling makes."""
        found = []
        for line in self.files.text(self.path(name)).splitlines():
            key, _, value = line.partition("=")
            kind = {"WantedBy": "wants", "RequiredBy": "requires"}.get(key.strip())
            found += [f"{PLACES[0]}/{target}.{kind}/{name}" for target in value.split()] if kind else []
            found += [f"{PLACES[0]}/{alias}" for alias in value.split()] if key.strip() == "Alias" else []
        return found

    def systemctl(self, words: Sequence[str]) -> Output:
        """`systemctl WORDS`. Raises Unmodelled for a verb that is not modelled."""
        names = [word for word in words if not word.startswith("-")]
        now = "--now" in words
        if not names:
            raise Unmodelled(f"systemctl {' '.join(words)}")
        verb, *units = names
        carry_out = getattr(self, f"_{verb.replace('-', '_')}", None)
        if carry_out is None:
            raise Unmodelled(f"systemctl {' '.join(words)}")
        try:
            said = [str(carry_out(unit) or "") for unit in units] if units else [str(carry_out("") or "")]
            for unit in units if now else ():
                (self._start if verb == "enable" else self._stop)(unit)
        except Refused as error:
            return Output({"is-active": 3, "start": 5}.get(verb, 1), "", f"{error}\n")
        return Output(0, "".join(said), "")

    def _daemon_reload(self, _: str) -> None:
        for how in self.running.values():
            how.loaded = self.files.now

    def _known(self, name: str, what: str) -> None:
        if not self.path(name):
            raise Refused(f"Failed to {what} {name}: Unit {name} not found.")
        if self.masked(name):
            raise Refused(f"Failed to {what} {name}: Unit {name} is masked.")

    def _enable(self, name: str) -> None:
        if not self.path(name):
            raise Refused(f"Failed to enable unit: Unit file {name} does not exist.")
        if self.masked(name):
            raise Refused(f"Failed to enable unit: Unit file {name} is masked.")
        for link in self.links(name):
            self.files.make_link(link, self.path(name))

    def _disable(self, name: str) -> None:
        for link in self.links(name):
            self.files.remove_path(link)

    def _start(self, name: str) -> None:
        if self.running.get(name, Running()).active == "active":
            return
        self._known(name, "start")
        if name in self.broken:
            self.running[name] = Running("failed", 0.0, self.files.now)
            raise Refused(f"Job for {name} failed because the control process exited with error code.")
        text = self.files.text(self.path(name)).replace(" ", "")
        passing = "Type=oneshot" in text and "RemainAfterExit=yes" not in text
        how = Running("inactive" if passing else "active", 0.0 if passing else self.files.now, self.files.now)
        self.running[name] = how
        self.on_start.get(name, lambda: None)()

    def _stop(self, name: str) -> None:
        how = self.running.get(name)
        if how is not None:
            how.active = "inactive"

    def _restart(self, name: str) -> None:
        self._known(name, "restart")
        self._stop(name)
        self._start(name)

    def _reload_or_restart(self, name: str) -> None:
        if self.running.get(name, Running()).active == "active" and "ExecReload" in self.files.text(
            self.path(name)
        ):
            return
        self._restart(name)

    def _reset_failed(self, name: str) -> None:
        how = self.running.get(name)
        if how is not None and how.active == "failed":
            how.active = "inactive"

    def _mask(self, name: str) -> None:
        node = self.files.at(f"{PLACES[0]}/{name}")
        if node is not None and node.kind == "file":
            raise Refused(f"Failed to mask unit: File {PLACES[0]}/{name} already exists.")
        self.files.make_link(f"{PLACES[0]}/{name}", "/dev/null")

    def _unmask(self, name: str) -> None:
        if self.masked(name):
            self.files.remove_path(f"{PLACES[0]}/{name}")

    def _is_active(self, name: str) -> str:
        active = self.running.get(name, Running()).active
        if active != "active":
            raise Refused(active)
        return f"{active}\n"
