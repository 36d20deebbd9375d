"""From the validator's errors to faults: in the words of the site file, each with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Interface

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deskside.site.faults import Fault, Place, at, shorten
from deskside.site.known import LATER_KEYS, LATER_VALUES, elsewhere, keys_of, settings

TAGGED = "hosts[].data"
LATER = "not available in this version"
_WRONG_SHAPE = {
    "model_type": "a section with keys",
    "model_attributes_type": "a section with keys",
    "dict_type": "a section with keys",
    "mapping_type": "a section with keys",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "ip_v4_address": "an IPv4 address",
    "ip_v4_network": "an IPv4 network without host bits",
}
HOLD_SECRETS = ("password", "secret")
"""Keys whose values are read from elsewhere."""
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "string_too_long": ("max_length", "characters, at most"),
    "string_too_short": ("min_length", "characters, at least"),
    "too_short": ("min_length", "entries, at least"),
}


def faults_of(error: ValidationError, data: Mapping[str, object]) -> Iterator[Fault]:
    """Each error of the validator, once, in its order."""
    seen: set[tuple[Place, str]] = set()
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail.get("input"):
            continue  # the list has entries; what is wrong with each of them is said by itself
        fault = _fault(detail, data)
        if (fault.place, fault.message) not in seen:
            seen.add((fault.place, fault.message))
            yield fault


def _fault(detail: ErrorDetails, data: Mapping[str, object]) -> Fault:
    place: Place = detail["loc"]
    if general(place[:3]) == TAGGED:
        # The validator names which form of a union it tried; the file has no such key.
        place = (*place[:3], *place[4:])
    kind = detail["type"]
    if kind != "deskside" and (held := next((one for one in HOLD_SECRETS if one in place), "")):
        return _secret(place, held)
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "missing":
        return Fault(place, "is missing", _add(place))
    if kind in ("literal_error", "enum"):
        return _choice(place, at(data, place), detail)
    message, remedy = _wrong_value(kind, detail, at(data, place))
    if not remedy:
        setting = settings().get(general(place))
        example = setting.example if setting else _network_of(at(data, place))
        remedy = f"write {_written(place, example)}" if example else _add(place)
    return Fault(place, shorten(message), shorten(remedy))


def _secret(place: Place, held: str) -> Fault:
    # Whatever stands there may be the secret itself: neither a value nor a key of it is repeated.
    place = place[: place.index(held) + 1]
    return Fault(place, f"is no place to read a {held} from", "write {env: NAME} or {file: PATH}")


def _wrong_value(kind: str, detail: ErrorDetails, value: object) -> tuple[str, str]:
    context = detail.get("ctx", {})
    if kind == "deskside":
        return str(context["message"]), str(context["remedy"])
    if value is None:
        return "is empty", "write a value, or remove it"
    if kind in _WRONG_SHAPE:
        return f"{_shown(value)} is not {_WRONG_SHAPE[kind]}", ""
    if kind in _LIMITS:
        limit, words = _LIMITS[kind]
        return f"{_shown(value)} does not fit", f"write {words} {context[limit]}"
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)} has characters or a form that cannot stand here", ""
    return f"{_shown(value)} cannot stand here: {detail['msg'][:1].lower()}{detail['msg'][1:]}", ""


def _network_of(value: object) -> str:
    """The network that an address with a prefix length is in; empty for anything else."""
    try:
        return str(IPv4Interface(str(value)).network) if "/" in str(value) else ""
    except ValueError:
        return ""


def general(place: Place) -> str:
    """A place as the path of a setting: `hosts[].address`."""
    return re.sub(r"\.\[\]", "[]", ".".join("[]" if isinstance(part, int) else part for part in place))


def _unknown(place: Place) -> Fault:
    key, path = str(place[-1]), general(place)
    if path in LATER_KEYS:
        return Fault(place, LATER, "remove it")
    section = general(place[:-1]).removesuffix("[]")
    known = keys_of(section)
    near = get_close_matches(key, known, 1, 0.6)
    others = elsewhere(key)
    if 0 < len(others) <= 2:
        remedy = f"it belongs at {' or '.join(others)}"
    elif near:
        remedy = f"did you mean {near[0]}?"
    else:
        remedy = f"known here: {', '.join(known)}"
    return Fault(place, "is not known", shorten(remedy))


def _choice(place: Place, value: object, detail: ErrorDetails) -> Fault:
    expected = str(detail.get("ctx", {}).get("expected", "")).replace("'", "")
    if isinstance(value, str) and value in LATER_VALUES.get(general(place), ()):
        return Fault(place, f"{value} is {LATER}", f"write {expected}")
    if value is None:
        return Fault(place, "is empty", f"write {expected}")
    known = re.split(r", | or ", expected)
    near = get_close_matches(str(value), known, 1, 0.6)
    remedy = f"did you mean {near[0]}?" if near and len(known) > 1 else f"write {expected}"
    return Fault(place, shorten(f"{_shown(value)} is not known"), remedy)


def _add(place: Place) -> str:
    setting = settings().get(general(place))
    if setting is None:
        return "write a value"
    if setting.example:
        return f"add {_written(place, setting.example)}"
    if setting.section is not None:
        needed = [
            info.alias or name for name, info in setting.section.model_fields.items() if info.is_required()
        ]
        within = "a list of entries with" if setting.listed else "a section with"
        return f"write {within} {', '.join(needed or setting.section.model_fields)}"
    return f"write {place[-1]}: {'a list' if setting.listed else 'a value'}"


def _written(place: Place, example: str) -> str:
    return f"{place[-1]}: {example}" if isinstance(place[-1], str) else example


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a section"
    return "a list" if isinstance(value, list) else shorten(repr(value), 80)
