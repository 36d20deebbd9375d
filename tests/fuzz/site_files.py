"""Site files that nobody would write: case number i of a seed is the same file for ever.

Most are sound files with some damage, near every rule that the loader has; some are built from what YAML is
made of; a few are as large as the loader lets a file be, in the shapes that cost most.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random

import yaml

from deskside.site.known import settings
from deskside.site.reading import MAX_BYTES, MAX_VALUES, Unreadable, read_document

SITE_TESTS = Path(__file__).parents[1] / "site"
SEED = "deskside-1"
_WORDS = r"""
    null ~ true no on = << 0 -1 1e999 .nan .inf 0x7fffffffffffffffff 1:30:00 0o17 2026-02-30 1.10 010
    10.20.0.11 10.20.0.0/24 0.0.0.0 255.255.255.255 10.20.0.9-10.20.0.1 ::1 9999999999999999999999
    lab.example a..b - .. / // nas:/homes nas: 4Gi ldaps://x ldap://[::1 https://a/../b server storage worker
    {username} {} {0.__class__} /dev/sdb /dev/../etc ~/.ssh/id.pub %s%n $(id) `id` ';-- \ xn--a dnsmasq router
"""
TOKENS = (
    *_WORDS.split(),
    *("", "a" * 300, "two words", "\x7f", "\u00e9", "\u200b", "\ufeff", "\u202e", "\ud7ff", "\u0130"),
    *("\U0001d7d9\U0001d7d8.1.1.1", "\u0661\u0660", "\uff21\uff22"),  # digits and letters of other scripts
)
SIGNS = "site: hosts\n\t -[]{}&*!|>'\"%@`#?,~0.10\\xuU\x85\u2028\u00e9"
_DUMPER: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def case(number: int, seed: str = SEED) -> bytes:
    """The content of one file, at most a byte larger than the loader takes."""
    random = Random(f"{seed}:{number}")
    kinds: tuple[Callable[[Random], bytes], ...] = (damaged_text, damaged_tree, yaml_soup, noise, large)
    (kind,) = random.choices(kinds, (520, 400, 60, 18, 2))
    return kind(random)[: MAX_BYTES + 1]


@cache
def sound() -> tuple[str, ...]:
    """The good file, and each text that the tests of the loader know as nearly good."""
    good = (SITE_TESTS / "good.yaml").read_text("utf-8")
    cases = yaml.safe_load((SITE_TESTS / "cases.yaml").read_text("utf-8"))
    changed = [good.replace(one["old"], one["new"], 1) for one in cases["one_change"]]
    return tuple(dict.fromkeys([good, *changed]))


@cache
def _trees() -> tuple[object, ...]:
    found: list[object] = []
    for text in sound():
        try:
            found.append(read_document(text.encode()).data)
        except Unreadable:
            continue
    return tuple(found)


@cache
def _words() -> tuple[str, ...]:
    return tuple(sorted({part.strip("[]") for path in settings() for part in path.split(".")}))


def _start(random: Random, sound_ones: tuple[str, ...] | tuple[object, ...]) -> object:
    # Half of them from the good one: damage to what is sound reaches deeper than damage to damage.
    return sound_ones[0] if random.random() < 0.5 else random.choice(sound_ones)


def damaged_text(random: Random) -> bytes:
    """A nearly sound file after one to three accidents of an editor."""
    text = str(_start(random, sound()))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        accident = random.choice((_hole, _inserted, _overwritten, _spliced, _lines_moved, _other_value))
        text = accident(text, random)
    return text.encode("utf-8", "surrogatepass")


def _hole(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + text[at + random.randint(1, 30) :]


def _inserted(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(TOKENS) + text[at:]


def _overwritten(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(SIGNS) + text[at + random.randint(0, 1) :]


def _spliced(text: str, random: Random) -> str:
    other = random.choice(sound())
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other)) :]


def _lines_moved(text: str, random: Random) -> str:
    lines = text.split("\n")
    row = random.randrange(len(lines))
    taken = lines[row] if random.random() < 0.5 else lines.pop(row)
    lines.insert(random.randrange(len(lines) + 1), " " * random.choice((0, 0, 1, 2, 4)) + taken)
    return "\n".join(lines)


def _other_value(text: str, random: Random) -> str:
    lines = text.split("\n")
    row = random.randrange(len(lines))
    key, colon, _old = lines[row].partition(":")
    lines[row] = f"{key}{colon} {random.choice(TOKENS)}"
    return "\n".join(lines)


def damaged_tree(random: Random) -> bytes:
    """A nearly sound file, one to three of whose values became something else, in correct YAML."""
    tree = deepcopy(_start(random, _trees()))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        around = random.choice(_containers(tree))
        if isinstance(around, list):
            at = random.randrange(len(around) + 1)
            around[at : at + random.randint(0, 1)] = [_value(random, 3)]
        elif around and random.random() < 0.7:
            around[random.choice(list(around))] = _value(random, 3)
        else:
            around[random.choice((*_words(), *TOKENS))] = _value(random, 3)
    style = random.choice((None, True, False))
    text: str = yaml.dump(tree, Dumper=_DUMPER, allow_unicode=True, default_flow_style=style)
    return text.encode("utf-8", "surrogatepass")


def _containers(tree: object) -> list[dict[object, object] | list[object]]:
    if not isinstance(tree, dict | list):
        return []
    inside = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(found for value in inside for found in _containers(value))]


def _value(random: Random, depth: int) -> object:
    kind = random.randrange(8 if depth else 4)
    if kind < 3:
        return random.choice(TOKENS)
    if kind == 3:
        return random.choice((None, True, 0, -1, 2**70, 0.5, float("inf"), ""))
    if kind < 6:
        return [_value(random, depth - 1) for _ in range(random.randrange(4))]
    words = (*_words(), *TOKENS)
    return {random.choice(words): _value(random, depth - 1) for _ in range(random.randrange(5))}


def yaml_soup(random: Random) -> bytes:
    """Words and signs of YAML in any order."""
    more = (": ", "\n  ", "\n- ", "---\n", "...\n", "%YAML 1.1\n", "!!python/none ")
    parts = (*SIGNS, *TOKENS, *_words(), *more)
    return "".join(random.choices(parts, k=random.randint(1, 120))).encode("utf-8", "surrogatepass")


def noise(random: Random) -> bytes:
    """Any bytes, or a sound file in another encoding or with some bytes changed."""
    if random.random() < 0.3:
        return random.randbytes(random.randrange(600))
    text = random.choice(sound())
    if random.random() < 0.3:
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7")))
    raw = bytearray(text.encode())
    for _ in range(random.randint(1, 6)):
        raw[random.randrange(len(raw))] = random.randrange(256)
    return bytes(raw)


def large(random: Random) -> bytes:
    """As much as the loader takes, all in one place and of one shape."""
    head = random.choice(
        (
            *("[", "hosts: [", "hosts: [{roles: [", "notebooks: {profiles: [", "admin: {keys: ["),
            *("identity: {admins: [", "network: {dns: {forwarders: [", "network: {firewall: {open: ["),
        )
    )
    tail = "".join({"[": "]", "{": "}"}[one] for one in reversed(head) if one in "[{")
    entries = ("{}", "a", "''", "{name: w#}", "[[]]", "{a: b}", "~", "1.1.1.1", "w#", "tcp/#")
    shapes = (
        (head, random.choice(entries) + ",", tail),
        ("", random.choice(("w#: \n", "a: \n", "- a\n", "- {}\n", "? ", "#\n", "[", "{")), ""),
        ("site: ", random.choice(("a", "\n\n a", ":", "\u00e9", " - ", "'", "a.", "1:", "9", "\\")), ""),
        ('site: "', random.choice(("\\u0041", "\\x00", "\n", " \\\n", "aa:")), '"'),
        ("hosts:\n", random.choice(("- name: w#\n", "- {address: 10.0.0.#}\n", "- - - a\n", "-\n")), ""),
    )
    before, unit, after = random.choice(shapes)
    return (before + _repeated(unit, MAX_BYTES - len(before) - len(after)) + after).encode()


def _repeated(unit: str, room: int) -> str:
    parts: list[str] = []
    values = 0
    for number in range(room):
        part = unit.replace("#", str(number))
        room -= len(part.encode())
        values += sum(part.count(sign) for sign in "[{:,-")
        if room < 0 or values > MAX_VALUES - 10:
            break
        parts.append(part)
    return "".join(parts)
