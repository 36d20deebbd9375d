"""What a rack needs on this machine, installed once, before two lanes of tests would both do it."""

from __future__ import annotations

import asyncio
import sys

from deskside.errors import DesksideError
from deskside.lab.bringup import install_packages


def main() -> int:
    """Install it, or say in a sentence why not."""
    try:
        asyncio.run(install_packages(lambda who, line: print(f"{who}: {line}", flush=True)))
    except KeyboardInterrupt:
        print("error: stopped\nhint: run ./test again", file=sys.stderr)
        return 130
    except DesksideError as error:
        print(
            f"error: {error.message}",
            *([f"hint: {error.hint}"] if error.hint else []),
            sep="\n",
            file=sys.stderr,
        )
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
