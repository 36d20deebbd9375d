"""Runs in the hub's pod, standard library only: asks the hub's own REST API, as the hub's service `deskside`.

It stands in front of the programs that need it (`forget.py`, `lend.py`), and of `leaving.py` in the hub.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

SETTINGS = "/usr/local/etc/jupyterhub"
TOKEN = "hub.services.deskside.apiToken"  # noqa: S105  # where one is


def ask(method, url, token, body=None):
    """Status and document of an answer. Raises OSError where there is none, or the token is refused."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"token {token}"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    try:
        # Not by a proxy of the environment: it is the machine's own hub.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            found = answer.read()
            return answer.status, json.loads(found) if found else {}
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise OSError(f"the hub refuses Deskside's token (HTTP {error.code})") from None
        return error.code, {}


def of_user(api, name):
    """Where the API has a person."""
    return f"{api}/users/{urllib.parse.quote(name, safe='')}"


def own_api():
    """Address of the API and the service's token, by the settings of the pod."""
    sys.path.insert(0, SETTINGS)
    from z2jh import get_config, get_secret_value

    base = get_config("hub.baseUrl", "/").rstrip("/")
    return f"http://127.0.0.1:8081{base}/hub/api", get_secret_value(TOKEN).strip()


def answer(found):
    """Print what Deskside reads: the settings print lines of their own."""
    print("deskside " + json.dumps(found))  # noqa: T201
