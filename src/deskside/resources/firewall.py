"""The firewall: one table of nftables, taken up on trial, and kept only when a new connection still comes in.

It never touches another table, never flushes a rule set, and never writes the distribution's nftables.conf,
so that kube-proxy's, the pod network's and Docker's rules live on.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from deskside.model.action import RunCommand, WriteFile
from deskside.model.query import ReadOutput, ReadPath
from deskside.model.resource import Change, HostReader
from deskside.resources.files import text_diff

PROGRAM = "/opt/deskside/libexec/firewall"
RULES = "/etc/deskside/firewall.nft"
TRIAL = "/etc/deskside/firewall.trial"
TRIAL_SECONDS = 30
"""How long rules on trial may go without a new connection."""
IN_STEP = "as loaded"
"""What the program says when the live table is the one that it loaded."""

PROGRAM_TEXT = f"""\
#!/bin/sh
# Written by Deskside: the table `inet deskside` of nftables.
#   load   take up {RULES}, at boot
#   try    take up {TRIAL}; without `keep` within {TRIAL_SECONDS} seconds the old rules come back
#   keep   keep what is on trial; called over a new connection
#   undo   take back what is on trial
#   look   say whether the live table is the one that was loaded
set -eu

rules={RULES} trial={TRIAL} run=/run/deskside timer=deskside-firewall-undo
mkdir -p "$run"
exec 9>"$run/firewall.lock"
flock 9

# Without what a dynamic set has gathered: that is no rule.
listed() {{
    nft --stateless list table inet deskside 2>/dev/null | sed '
        /flags dynamic/,/}}$/ {{
            /elements = {{.*}}$/d
            /elements = {{/,/}}$/d
        }}'
}}
without() {{ printf 'table inet deskside {{}}\\ndelete table inet deskside\\n'; }}
undo() {{
    [ -e "$run/firewall.old" ] || return 0
    {{ without; cat "$run/firewall.old"; }} | nft --file -
    rm -f "$run/firewall.old" "$trial"
}}

case "$1" in
load)
    [ ! -e "$rules" ] || nft --file "$rules"
    listed >"$run/firewall.loaded"
    ;;
try)
    nft --check --file "$trial"
    # A trial of a run that was killed: what comes back is what was there before it.
    if [ -e "$run/firewall.old" ]; then
        cp "$trial" "$trial.next"
        undo
        mv "$trial.next" "$trial"
    fi
    systemctl stop "$timer.timer" 2>/dev/null || true
    listed >"$run/firewall.old"
    systemd-run --quiet --collect --unit="$timer" --on-active={TRIAL_SECONDS} \\
        --timer-property=AccuracySec=1s "$0" undo
    nft --file "$trial"
    ;;
keep)
    if [ ! -e "$run/firewall.old" ]; then
        echo "no new connection came in within {TRIAL_SECONDS} seconds: the old rules are back" >&2
        exit 1
    fi
    systemctl stop "$timer.timer"
    mv "$trial" "$rules"
    rm -f "$run/firewall.old"
    listed >"$run/firewall.loaded"
    ;;
undo) undo ;;
look)
    if listed | cmp --silent - "$run/firewall.loaded"; then echo "{IN_STEP}"; else echo "differs"; fi
    ;;
esac
"""


@dataclass(frozen=True)
class Firewall:
    """The table `inet deskside` with exactly these rules, now and after a reboot."""

    rules: str
    """A script of nft that replaces the table as a whole."""

    @property
    def subject(self) -> str:
        """`firewall`."""
        return "firewall"

    async def plan(self, host: HostReader) -> Change | None:
        """New rules on trial, or the same ones where somebody changed the live table."""
        kept, live = await host.read(
            ReadPath(RULES, content=True, digest=True), ReadOutput((PROGRAM, "look"), timeout=20.0)
        )
        same = kept.sha256 == sha256(self.rules.encode()).hexdigest()
        if same and live.stdout.strip() == IN_STEP:
            return None
        old = (kept.content or b"").decode("utf-8", "replace")
        diff = text_diff(RULES, old, self.rules, absent=kept.kind == "absent")
        summary = "take up the rules again (the live ones differ)" if same else "take up other rules"
        if kept.kind == "absent":
            summary = "close every port but those of: deskside ports"
        actions = (WriteFile(TRIAL, self.rules), RunCommand((PROGRAM, "try"), timeout=60.0))
        keep = RunCommand((PROGRAM, "keep"), timeout=60.0)
        return Change(self.subject, summary, actions, diff=diff, confirm=(keep,))
