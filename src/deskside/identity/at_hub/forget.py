"""Runs in the hub's pod, standard library only: puts people out of the hub, through its own REST API.

A person's desks are stopped, and the person is deleted at the hub: tokens and cookies are worth nothing from
then on. Homes are not touched. As a program it takes JSON on standard input, {"names": [...]}, and prints
{name: what happened}; the hub's configuration has it in front of `leaving.py`, which calls it too.
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SETTINGS = "/usr/local/etc/jupyterhub"
TOKEN = "hub.services.deskside.apiToken"  # noqa: S105  # where one is
OUT, UNKNOWN = "put out", "not known to the hub"
ATTEMPTS, PAUSE = 20, 3.0
"""A desk that is starting or stopping cannot be stopped: it is tried again."""


def forget(api, token, name, attempts=ATTEMPTS):
    """Stop the desks of a person, and delete the person at the hub. Raises OSError when that fails."""
    path = f"{api}/users/{urllib.parse.quote(name, safe='')}"
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


def ask(method, url, token):
    """Status and document of an answer. Raises OSError where there is none, or the token is refused."""
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"token {token}"})  # noqa: S310
    try:
        # Not by a proxy of the environment: it is the machine's own hub.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else {}
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise OSError(f"the hub refuses Deskside's token (HTTP {error.code})") from None
        return error.code, {}


def main():
    """Put everybody out who is named; one that fails holds up nobody."""
    sys.path.insert(0, SETTINGS)
    from z2jh import get_config, get_secret_value

    api = f"http://127.0.0.1:8081{get_config('hub.baseUrl', '/').rstrip('/')}/hub/api"
    found = {}
    for name in json.load(sys.stdin)["names"]:
        try:
            found[name] = forget(api, get_secret_value(TOKEN).strip(), name)
        except OSError as error:
            found[name] = f"failed: {error}"
    print("deskside " + json.dumps(found))  # noqa: T201  # z2jh prints lines of its own


if __name__ == "__main__":
    main()
