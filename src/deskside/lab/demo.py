"""The demo: a rack, then the very commands that a person would type on it. `./demo` calls this.

Each command runs as a process of its own, so that nothing here can help it along.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path

from deskside.errors import DesksideError, Interrupted
from deskside.lab.bringup import bring_up
from deskside.lab.nas import secret_file
from deskside.lab.rack import Rack
from deskside.lab.spec import RackSpec
from deskside.site.load import load

COMMAND = str(Path(sys.executable).parent / "deskside")


def main() -> int:
    """Parse the flags, run the demo; the exit status is that of the first command that failed."""
    parser = argparse.ArgumentParser(prog="./demo", description=__doc__.splitlines()[0])
    parser.add_argument("--rack", default="demo")
    parser.add_argument("--source", choices=("recipe", "upstream"), default="recipe")
    flags = parser.parse_args()
    started = time.monotonic()

    def report(name: str, line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {name}: {line}", flush=True)

    try:
        brought = asyncio.run(bring_up(RackSpec(flags.rack), flags.source, report))
        report(flags.rack, "three bare hosts and a NAS are up, and everything to bring them is at hand")
        for command in (("apply", "--yes"), ("verify",)):
            _say(f"deskside -f {brought.rack.site_file} {' '.join(command)}")
            if status := subprocess.run(
                (COMMAND, "-f", str(brought.rack.site_file), *command), check=False
            ).returncode:
                return status
    except KeyboardInterrupt:
        return _ended(Interrupted("stopped", hint="run ./demo again to go on from there"))
    except DesksideError as error:
        return _ended(error)
    _say_goodbye(brought.rack, time.monotonic() - started)
    return 0


def _say(command: str) -> None:
    print(f"\n$ {command}", flush=True)


def _ended(error: DesksideError) -> int:
    hint = f"\nhint: {error.hint}" if error.hint else ""
    print(f"error: {error.message}{hint}", file=sys.stderr)
    return error.exit_code


def _say_goodbye(rack: Rack, seconds: float) -> None:
    site = load(rack.site_file).site
    user = site.verify.user
    assert user is not None
    password = secret_file(rack.layout, user.name)
    deskside = f".venv/bin/deskside -f {rack.site_file}"
    print(f"""
Everything works, after {seconds:.0f} s. Now:

  open it          http://{site.network.load_balancer.first}
  log in as        {user.name}, whose password is in {password}
                   (plain HTTP in this version: passwords travel unencrypted)
  see the plan     {deskside} plan
  see how it is    {deskside} status
  break something  .venv/bin/deskside lab break --help
  take it down     .venv/bin/deskside lab down --rack {rack.name}
""")


if __name__ == "__main__":
    sys.exit(main())
