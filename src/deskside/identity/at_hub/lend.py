"""Runs in the hub's pod behind `api.py`: lends a token of one person, for the acceptance test.

It may start, use and stop that person's desk, and nothing else; after half an hour it is worth nothing. Takes
JSON on standard input, {"name": ...}, and answers {"token", "id"}, or {"error"}.
"""

SECONDS = 1800
SCOPES = ("read:users", "servers", "access:servers", "tokens")
"""Of the person alone. The last is for handing it back."""


def main():
    """Answer with a fresh token, or why there is none."""
    name = json.load(sys.stdin)["name"]
    scopes = [f"{scope}!user={name}" for scope in SCOPES]
    wanted = {"note": "deskside verify", "expires_in": SECONDS, "scopes": scopes}
    try:
        api, token = own_api()
        path = of_user(api, name)
        if ask("GET", path, token)[0] == 404:
            answer({"error": "unknown"})
            return
        status, found = ask("POST", f"{path}/tokens", token, wanted)
    except OSError as error:
        answer({"error": str(error)})
        return
    good = status in (200, 201)
    answer({"token": found["token"], "id": found["id"]} if good else {"error": f"HTTP {status}"})


if __name__ == "__main__":
    main()
