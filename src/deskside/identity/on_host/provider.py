"""Runs on a host, standard library only: asks an OpenID Connect provider about itself and about a client.

Takes JSON on standard input, {"issuer", "address", "ca", "token", "client_id", "client_secret"}, and prints
{"error", "status", "document", "client"}: what kept it from an answer, the status and content of the
discovery document, and the code that the token endpoint has for a refresh token that cannot exist
(`invalid_grant`: the client is known and its secret is right). `address` is where to connect, for
names that the host does not know yet. The secret is sent to the token endpoint alone. Changes nothing.
"""

import http.client
import json
import socket
import ssl
import sys
import urllib.parse

SECONDS = 5.0
LONGEST = 1 << 18


def ask(asked: "dict[str, str]", url: str, body: "str | None" = None) -> "tuple[int, str]":
    """Status and text of an answer, with the certificate checked; redirects are not followed."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    trusted = ssl.create_default_context(cadata=asked["ca"] or None)
    plain = socket.create_connection((asked["address"] or host, port), SECONDS)
    connection = http.client.HTTPSConnection(host, port, timeout=SECONDS)
    try:
        connection.sock = trusted.wrap_socket(plain, server_hostname=host)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request("GET" if body is None else "POST", parts.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(LONGEST).decode(errors="replace")
    finally:
        connection.close()
        plain.close()


def parsed(text: str) -> "dict[str, object]":
    """A JSON object; an empty one for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def client_says(asked: "dict[str, str]") -> str:
    """The code of the error that the token endpoint answers with; empty when it has none."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": "none",
        "client_id": asked["client_id"],
        "client_secret": asked["client_secret"],
    }
    _, text = ask(asked, asked["token"], urllib.parse.urlencode(form))
    return str(parsed(text).get("error", ""))


def main() -> None:
    """Two questions; the second only where the first had an answer."""
    asked = json.load(sys.stdin)
    found: dict[str, object] = {"error": "", "status": 0, "document": {}, "client": ""}
    try:
        status, text = ask(asked, asked["issuer"] + "/.well-known/openid-configuration")
        found.update(status=status, document=parsed(text))
        if found["document"] and asked["client_secret"]:
            found["client"] = client_says(asked)
    except ssl.SSLCertVerificationError as error:
        found["error"] = "certificate: " + error.verify_message
    except (OSError, http.client.HTTPException, ValueError) as error:
        found["error"] = str(error) or type(error).__name__
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
