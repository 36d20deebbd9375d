"""Runs in the hub's pod behind `api.py`: lends a token of one person, for the acceptance test.

It may start, use and stop that person's desk, and nothing else; after half an hour it is worth nothing. Takes
JSON on standard input, {"name": ...}, and answers {"token", "id"}, or {"error"}. With {"name", "id"} it takes
the token back, and answers {"id"}, or {"error"}.
"""

SECONDS = 1800
SCOPES = ("read:users", "servers", "access:servers")
"""Of the person alone."""


def lend(path, token, name):
    """A fresh token, or why there is none."""
    if ask("GET", path, token)[0] == 404:
        return {"error": "unknown"}
    scopes = [f"{scope}!user={name}" for scope in SCOPES]
    wanted = {"note": "deskside verify", "expires_in": SECONDS, "scopes": scopes}
    status, found = ask("POST", f"{path}/tokens", token, wanted)
    if status not in (200, 201):
        return {"error": f"HTTP {status}"}
    return {"token": found["token"], "id": found["id"]}


def take_back(path, token, number):
    """Make a token worthless; one that is gone is well."""
    status, _ = ask("DELETE", f"{path}/tokens/{urllib.parse.quote(number, safe='')}", token)
    return {"id": number} if status in (204, 404) else {"error": f"HTTP {status}"}


def main():
    """Answer what was asked for."""
    asked = json.load(sys.stdin)
    try:
        api, token = own_api()
        path = of_user(api, asked["name"])
        number = asked.get("id")
        answer(take_back(path, token, number) if number else lend(path, token, asked["name"]))
    except OSError as error:
        answer({"error": str(error)})


if __name__ == "__main__":
    main()
