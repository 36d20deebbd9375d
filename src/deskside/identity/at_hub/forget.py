"""Runs in the hub's pod behind `api.py`: puts people out of the hub.

A person's desks are stopped, and the person is deleted at the hub: tokens and cookies are worth nothing from
then on. Homes are not touched. As a program it takes JSON on standard input, {"names": [...]}, and answers
{name: what happened}; the hub's configuration has it in front of `leaving.py`, which calls it too.
"""

import time

OUT, UNKNOWN = "put out", "not known to the hub"
ATTEMPTS, PAUSE = 20, 3.0
"""A desk that is starting or stopping cannot be stopped: it is tried again."""


def forget(api, token, name, attempts=ATTEMPTS):
    """Stop the desks of a person, and delete the person at the hub. Raises OSError when that fails."""
    path = of_user(api, name)
    for attempt in range(attempts):
        if attempt:
            time.sleep(PAUSE)
        status, known = ask("GET", path, token)
        if status == 404:
            return OUT if attempt else UNKNOWN
        for server in known.get("servers") or {}:
            ask("DELETE", f"{path}/servers/{urllib.parse.quote(server, safe='')}", token)
        status, _ = ask("DELETE", path, token)
        if status in (204, 404):
            return OUT
    raise OSError(f"the hub answers {status}")


def main():
    """Put everybody out who is named; one that fails holds up nobody."""
    api, token = own_api()
    found = {}
    for name in json.load(sys.stdin)["names"]:
        try:
            found[name] = forget(api, token, name)
        except OSError as error:
            found[name] = f"failed: {error}"
    answer(found)


if __name__ == "__main__":
    main()
