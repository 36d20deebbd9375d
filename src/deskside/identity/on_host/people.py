"""Runs on a host, standard library only: reads people and groups of a directory, or changes them.

Takes JSON on standard input, {"url", "starttls", "ca", "dn", "password", "calls": [...]}. A call is
{"tool", "arguments", "stdin", "secret", "accepts": [statuses], "what": words for people, "undo": LDIF or ""}.
Calls are made in order; at the first that fails, what was done before is undone in reverse, so that all of it
happens or nothing. Prints {"status", "said", "what", "out": [text of each call], "left": [what could not be
undone]}.
"""

import json
import sys

from deskside.identity.on_host.speak import Ran, Speak, spoken_to

TOOLS = ("ldapsearch", "ldapmodify", "ldappasswd")


def called(speak: Speak, call: "dict[str, object]") -> "Ran[str]":
    """Make one call."""
    tool, arguments = str(call["tool"]), call["arguments"]
    assert tool in TOOLS
    assert isinstance(arguments, list)
    return speak(tool, arguments, str(call.get("stdin") or ""), str(call.get("secret") or ""))


def undone(speak: Speak, calls: "list[dict[str, object]]") -> "list[str]":
    """Undo calls, the last one first; what could not be undone, in words."""
    left = []
    for call in reversed(calls):
        if call.get("undo") and speak("ldapmodify", [], str(call["undo"])).returncode != 0:
            left.append(str(call["what"]))
    return left


def main() -> None:
    """Make the calls; undo them when one fails."""
    asked = json.load(sys.stdin)
    found: dict[str, object] = {"status": 0, "said": "", "what": "", "left": []}
    out: list[str] = []
    with spoken_to(asked) as speak:
        for number, call in enumerate(asked["calls"]):
            done = called(speak, call)
            if done.returncode not in (0, *call.get("accepts", ())):
                said = (done.stderr + done.stdout).strip()
                left = undone(speak, asked["calls"][:number])
                found = {"status": done.returncode, "said": said, "what": call["what"], "left": left}
                break
            out.append(done.stdout)
    json.dump({**found, "out": out}, sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError:
        sys.exit(127)
