"""The bounds of the design that no linter of ours holds: file and function length, dependencies, no `Any`.

Run as a program it prints every place that is past a bound, and fails. `tests/test_bounds.py` proves it can.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 400
FUNCTION_LINES = 50
RUNTIME_DEPENDENCIES = 10
TYPED_FLOORS = ("site", "model", "hosts", "store", "resources", "engine")


def long_places(path: Path, text: str) -> Iterator[str]:
    """Files and functions of `path` that are past the bounds."""
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, at most {FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno} {node.name}: {length} lines, at most {FUNCTION_LINES}"


def untyped_places(path: Path, text: str) -> Iterator[str]:
    """Signatures of `path` that say `Any`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [argument.annotation for argument in arguments] + [node.returns]
            for annotation in filter(None, annotations):
                if any(isinstance(part, ast.Name) and part.id == "Any" for part in ast.walk(annotation)):
                    yield f"{path}:{node.lineno} {node.name}: Any in a signature"
                    break


def too_many_dependencies(pyproject: str) -> Iterator[str]:
    """A line when the package has more runtime dependencies than agreed."""
    found = tomllib.loads(pyproject)["project"]["dependencies"]
    if len(found) > RUNTIME_DEPENDENCIES:
        yield f"pyproject.toml: {len(found)} runtime dependencies, at most {RUNTIME_DEPENDENCIES}"


def main() -> int:
    """Print what is past a bound; the exit status says whether there is any."""
    past: list[str] = list(too_many_dependencies((ROOT / "pyproject.toml").read_text()))
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text()
        past += long_places(path.relative_to(ROOT), text)
        if path.relative_to(ROOT / "src/deskside").parts[0] in TYPED_FLOORS:
            past += untyped_places(path.relative_to(ROOT), text)
    print("\n".join(past) or "within the bounds")
    return 1 if past else 0


if __name__ == "__main__":
    sys.exit(main())
