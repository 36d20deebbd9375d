"""Taking a machine over, as actions: the account, the closed door, and the way back out of both.

Pure: nothing here asks a machine. Before the first change an undo lies on the machine, with a timer that runs
it, after a reboot too. Only a connection that was made after the last change takes the timer away, so a
machine that nobody can enter any more puts itself back.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deskside.errors import SiteError
from deskside.model.action import Action, RunCommand, WriteFile
from deskside.model.query import ReadOutput
from deskside.site.schema import Site

DROP_IN = "/etc/ssh/sshd_config.d/10-deskside.conf"
SUDOERS = "/etc/sudoers.d/95-deskside"
PLACE = "/var/lib/deskside/adopt"
"""What was there before, the undo, and nothing once the machine is taken over."""
UNDO = "deskside-adopt-undo"
UNDO_UNITS = (f"/etc/systemd/system/{UNDO}.service", f"/etc/systemd/system/{UNDO}.timer")
UNFINISHED = ReadOutput(("sh", "-c", f"ls -d {PLACE} {PLACE}-undoing 2>/dev/null"))
"""Prints something while an unfinished takeover has left its undo, to come or on its way."""
ACCOUNT_SECONDS = 120
"""Until the account is undone, unless the second connection has come through it."""
DOOR_SECONDS = 30
"""Until everything is undone, unless a connection through the closed door says not to."""
CLOSED_DOOR = (
    "# Written by Deskside: nobody gets in but by key, and root not at all.\n"
    "PermitRootLogin no\n"
    "PasswordAuthentication no\n"
    "KbdInteractiveAuthentication no\n"
    "PubkeyAuthentication yes\n"
)
RELOAD = "systemctl try-reload-or-restart ssh.service"
"""Where sshd is started per connection nothing runs, and nothing has to be told."""

_UNDO_SCRIPT = """\
#!/bin/sh
# Written by Deskside: puts the machine back as it was before `deskside adopt`. Whoever renames the folder
# first has decided: this, or the connection that says all is well.
place={place}
[ ! -d "$place" ] || {{ rm -rf "$place-undoing"; mv -T "$place" "$place-undoing"; }}
cd "$place-undoing" || exit 0
put_back() {{ if [ -e "$1" ]; then cp -p "$1" "$2"; else rm -f "$2"; fi; }}
put_back sshd {drop_in}
{reload}
put_back sudoers {sudoers}
if [ -e no-account ]; then
    loginctl kill-user --signal=KILL {user} 2>/dev/null || :
    userdel --force --remove {user} 2>/dev/null || :
elif [ -e keys ]; then
    runuser -u {user} -- env HOME="$(cat home)" sh -c 'cat > ~/.ssh/authorized_keys' < keys
fi
systemctl --quiet disable --now {undo}.timer
rm -f {units}
cd /
rm -rf "$place-undoing"
systemctl daemon-reload
"""

_EXEC_UNDO = f"cd {PLACE} 2>/dev/null || cd {PLACE}-undoing && exec /bin/sh ./undo"
"""From either place: power may have been lost while the undo ran."""

_SNAPSHOT = """
place=$1 user=$2 drop_in=$3 sudoers=$4
for kept in "$place" "$place-undoing"; do
    [ ! -e "$kept" ] || { echo "$kept holds what an unfinished takeover found" >&2; exit 1; }
done
rm -rf "$place-done"
install -d -m 0700 "$place"
cd "$place"
[ ! -e "$drop_in" ] || cp -p "$drop_in" sshd
[ ! -e "$sudoers" ] || cp -p "$sudoers" sudoers
if found=$(getent passwd "$user"); then
    echo "$found" | cut -d: -f6 > home
    runuser -u "$user" -- env HOME="$(cat home)" \\
        sh -c '[ ! -f ~/.ssh/authorized_keys ] || cat ~/.ssh/authorized_keys' > keys
else
    : > no-account
fi
"""

_ACCOUNT = """
user=$1
id -u "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --password '*' "$user"
home=$(getent passwd "$user" | cut -d: -f6)
exec runuser -u "$user" -- env HOME="$home" sh -ec '
umask 077
mkdir -p ~/.ssh
touch ~/.ssh/authorized_keys
[ -z "$(tail -c 1 ~/.ssh/authorized_keys)" ] || echo >> ~/.ssh/authorized_keys
while read -r line; do
    grep -qxF "$line" ~/.ssh/authorized_keys || printf "%s\\n" "$line" >> ~/.ssh/authorized_keys
done
chmod 700 ~/.ssh
chmod 600 ~/.ssh/authorized_keys
'
"""

_SUDO = """
new=$(mktemp /run/deskside-sudoers-XXXXXX)
trap 'rm -f "$new"' EXIT
cat > "$new"
chmod 0440 "$new"
visudo -cf "$new"
install -m 0440 "$new" "$1"
visudo -c || { rm -f "$1"; exit 1; }
"""

_CHECKED = """
mkdir -p /run/sshd
sshd -t
found=$(sshd -T)
for wanted; do
    echo "$found" | grep -qx "$wanted" || { echo "the SSH server does not take up: $wanted" >&2; exit 1; }
done
"""

_KEEP = """
mv -T "$1" "$1-done" || { echo "too late: the machine has put everything back" >&2; exit 1; }
systemctl --quiet disable --now "$2.timer"
rm -rf "$1-done" "/etc/systemd/system/$2.service" "/etc/systemd/system/$2.timer"
systemctl daemon-reload
"""

_FINISH = """
place=$1 unit=$2 service=$3
if [ -e "$service" ]; then
    systemctl start "$unit.service"
    for kept in "$place" "$place-undoing"; do
        [ ! -e "$kept" ] || { echo "the undo did not come to its end: $kept is left" >&2; exit 1; }
    done
else
    # It ended before the first change, or after all was put back.
    rm -rf "$place" "$place-undoing"
fi
"""

_REMOVE_ACCOUNT = """
loginctl kill-user --signal=KILL "$1" 2>/dev/null || :
for try in 1 2 3 4 5; do
    id -u "$1" >/dev/null 2>&1 || exit 0
    userdel --remove "$1" && exit 0
    sleep 1
done
exit 1
"""


def script(text: str, *words: str, stdin: str = "", timeout: float = 60.0) -> RunCommand:
    """A shell script that stops at the first failure, with `words` as $1, $2, ..."""
    return RunCommand(("sh", "-ec", text, "sh", *words), stdin=stdin, timeout=timeout)


def undo_script(user: str) -> str:
    """What puts a machine back, for an admin account of that name."""
    return _UNDO_SCRIPT.format(
        place=PLACE,
        drop_in=DROP_IN,
        sudoers=SUDOERS,
        reload=RELOAD,
        user=shlex.quote(user),
        undo=UNDO,
        units=" ".join(UNDO_UNITS),
    )


def sudo_rule(user: str) -> str:
    """The site's account may do everything as root; it has no password that sudo could ask for."""
    return f"# Written by Deskside.\n{user} ALL=(ALL:ALL) NOPASSWD: ALL\n"


def armed(seconds: int) -> tuple[Action, ...]:
    """Let the undo run so many seconds from now, or after a boot."""
    timer = (
        "[Unit]\nDescription=Deskside: put the machine back unless it is taken over\n"
        f"[Timer]\nOnActiveSec={seconds}\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n"
    )
    return (
        WriteFile(UNDO_UNITS[1], timer),
        RunCommand(("systemctl", "daemon-reload")),
        RunCommand(("systemctl", "--quiet", "enable", f"{UNDO}.timer")),
        RunCommand(("systemctl", "restart", f"{UNDO}.timer")),
    )


def account_actions(site: Site, keys: Sequence[str]) -> tuple[Action, ...]:
    """The undo first, then the site's account with its public keys (lines) and sudo without a password."""
    user = site.admin.user
    service = (
        "[Unit]\nDescription=Deskside: put the machine back\n"
        f"[Service]\nType=oneshot\nExecStart=/bin/sh -c '{_EXEC_UNDO}'\n"
    )
    return (
        script(_SNAPSHOT, PLACE, user, DROP_IN, SUDOERS),
        WriteFile(f"{PLACE}/undo", undo_script(user), 0o700),
        WriteFile(UNDO_UNITS[0], service),
        *armed(ACCOUNT_SECONDS),
        script(_ACCOUNT, user, stdin="".join(f"{line}\n" for line in keys)),
        script(_SUDO, SUDOERS, stdin=sudo_rule(user)),
    )


def door_actions(closed: Sequence[str]) -> tuple[Action, ...]:
    """Close the door, with the undo half a minute away; `closed` are lines that `sshd -T` must then print."""
    return (
        *armed(DOOR_SECONDS),
        WriteFile(DROP_IN, CLOSED_DOOR),
        script(_CHECKED, *closed),
        RunCommand(tuple(RELOAD.split())),
    )


def keep_action() -> Action:
    """Take the undo away; fails when it has begun."""
    return script(_KEEP, PLACE, UNDO)


def undo_action() -> Action:
    """Run the undo now, to its end."""
    return RunCommand(("systemctl", "start", f"{UNDO}.service"), timeout=60.0)


def finish_undo_action() -> Action:
    """Bring the undo of an earlier takeover to its end, now; fails when it does not come to one."""
    return script(_FINISH, PLACE, UNDO, UNDO_UNITS[0], timeout=90.0)


def remove_account_action(user: str) -> Action:
    """Remove an account with its home."""
    return script(_REMOVE_ACCOUNT, user)


def public_key_line(text: str, path: str) -> str:
    """The one line of a public key file; raises SiteError for anything else."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1 or not lines[0].startswith(("ssh-", "ecdsa-", "sk-")) or len(lines[0].split()) < 2:
        raise SiteError(
            f"admin.keys: {path} holds no SSH public key", hint="name the .pub file, as ~/.ssh/id_ed25519.pub"
        )
    return lines[0]
