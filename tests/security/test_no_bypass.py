"""No way round: host keys are always verified, and nothing of ours is handed to a shell unseen (F23, F24).

Read from the source, since a test of behaviour cannot show that there is no other way.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import deskside

SOURCE = Path(deskside.__file__).parent
OPEN = ("connect", "create_connection", "connect_reverse", "run_client")
"""Of asyncssh: what verifies the server's key, or does not, by its argument `known_hosts`."""
WORDS = re.compile(
    r"StrictHostKeyChecking[= ](?!yes)|KnownHosts\w*[= ]/dev/null|CheckHostIP|VerifyHostKeyDNS|ssh-keyscan"
    r"|NoHostAuthenticationForLocalhost",
    re.IGNORECASE,
)
"""With these in a command line or a file, ssh trusts whom it does not know."""
SHELLS = ("system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell")


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the product."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text("utf-8"))


def bypasses(tree: ast.Module) -> Iterator[str]:
    """What lets a host's key pass without a look at it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORDS.search(node.value):
            yield f"{node.lineno}: {WORDS.search(node.value)}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("validate_host"):
            yield f"{node.lineno}: {node.name} decides by itself"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        trusted = given.get("known_hosts")
        if isinstance(trusted, ast.Constant | ast.Tuple | ast.List):
            yield f"{node.lineno}: {name} with known_hosts={ast.unparse(trusted)}"
        if name in OPEN and "asyncssh" in ast.dump(node.func) and trusted is None:
            yield f"{node.lineno}: {name} without known_hosts"
        if name in OPEN and "config" in given and not isinstance(given["config"], ast.Constant):
            yield f"{node.lineno}: {name} with a configuration of its own"


def shells(tree: ast.Module) -> Iterator[str]:
    """What hands a text to a shell of this machine or of a host, other than as a list of words."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in SHELLS and not (name == "system" and "platform" in ast.dump(node.func)):
            yield f"{node.lineno}: {name}"
        for keyword in node.keywords:
            value = keyword.value
            if keyword.arg == "shell" and not (isinstance(value, ast.Constant) and value.value is False):
                yield f"{node.lineno}: {name} with shell="


@pytest.mark.parametrize("look", [bypasses, shells])
def test_the_source_has_none(look: object) -> None:
    assert callable(look)
    assert [f"{name}:{found}" for name, tree in trees() for found in look(tree)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "await asyncssh.connect(host, known_hosts=None)",
        "await asyncssh.connect(host, username=user)",
        "await asyncssh.create_connection(Client, host, known_hosts=())",
        "options = ['-o', 'StrictHostKeyChecking=no']",
        "options = ['-o', 'StrictHostKeyChecking accept-new']",
        "options = f'-o UserKnownHostsFile=/dev/null {host}'",
        "class Client:\n    def validate_host_public_key(self): return True",
    ],
)
def test_a_bypass_would_be_seen(planted: str) -> None:
    tree = compile(planted, "planted", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    assert list(bypasses(tree))


@pytest.mark.parametrize(
    "planted", ["os.system(f'ls {path}')", "subprocess.run(text, shell=True)", "os.popen(text)"]
)
def test_a_shell_would_be_seen(planted: str) -> None:
    assert list(shells(ast.parse(planted)))
