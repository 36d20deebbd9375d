from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from deskside.model.action import WriteFile
from deskside.model.query import PathFound
from deskside.resources.files import Absent, Block, Directory, File, Link
from deskside.site.secrets import Secret

from .world import World, converge, planned, settled

TWO = "a = 1\nb = 2\n"


async def test_new_file_shows_all_of_its_text() -> None:
    change = await converge(File("/etc/x", TWO), World())
    assert change.summary == "write (new)"
    assert change.diff == "--- /dev/null\n+++ /etc/x\n@@ -0,0 +1,2 @@\n+a = 1\n+b = 2\n"


async def test_edited_file_shows_the_lines_that_differ() -> None:
    world = World()
    world.write("/etc/x", "a = 1\nb = 3\n")
    change = await converge(File("/etc/x", TWO), world)
    assert change.summary == "write (1 line differs)"
    assert change.diff == "--- /etc/x\n+++ /etc/x\n@@ -1,2 +1,2 @@\n a = 1\n-b = 3\n+b = 2\n"


async def test_mode_and_owner_are_named() -> None:
    world = World()
    world.paths["/etc/x"] = PathFound("file", 0o600, "ops", "root", content=TWO.encode())
    change = await converge(File("/etc/x", TWO), world)
    assert change.summary == "set mode 0644 (is 0600), set owner root:root (is ops:root)"
    assert change.diff == ""


async def test_secret_is_compared_and_never_shown() -> None:
    world = World()
    world.write("/etc/x", "old hunter1", 0o600)
    resource = File("/etc/x", Secret("hunter2"), 0o600)
    change = await converge(resource, world)
    assert (change.summary, change.diff) == ("write (content differs)", "")
    assert "hunter" not in repr(resource) + repr(change)
    assert not resource.reads[0].content


async def test_text_of_a_private_file_is_not_shown_even_when_it_becomes_public() -> None:
    world = World()
    world.write("/etc/x", "token = abc\n", 0o600)
    change = await planned(File("/etc/x", "public\n"), world)
    assert "abc" not in change.diff
    private = await planned(File("/etc/y", "token = abc\n", 0o600), World())
    assert (private.diff, private.summary) == ("", "write (new)")


async def test_binary_content_has_no_diff() -> None:
    world = World()
    world.write("/x", b"\0\1")
    assert (await converge(File("/x", b"\0\2"), world)).diff == ""
    world.write("/x", b"\0\1")
    assert (await converge(File("/x", "text\n"), world)).diff == ""


async def test_what_is_in_the_way_is_said() -> None:
    world = World()
    world.paths["/x"] = PathFound("link", target="/y")
    assert (await converge(File("/x", TWO), world)).summary == "write (replaces a link to /y)"
    world.paths["/d"] = PathFound("directory")
    assert (await planned(File("/d", TWO), world)).summary == "write (a directory is in the way)"


async def test_missing_newline_at_the_end_keeps_the_diff_readable() -> None:
    change = await planned(File("/x", "a"), World())
    assert change.diff.endswith("+a\n\\ No newline at end of file\n")


async def test_directory() -> None:
    world = World()
    assert (await converge(Directory("/d", 0o700), world)).summary == "make"
    change = await converge(Directory("/d", 0o755, "ops", "ops"), world)
    assert change.summary == "set mode 0755 (is 0700), set owner ops:ops (is root:root)"
    world.write("/f", "")
    assert (await planned(Directory("/f"), world)).summary == "make (a file is in the way)"


async def test_directory_whose_mode_is_its_users() -> None:
    world = World()
    await converge(Directory("/d", None), world)
    world.paths["/d"] = PathFound("directory", 0o711, "ops", "ops")
    assert await settled(Directory("/d", None), world)


async def test_link() -> None:
    world = World()
    assert (await converge(Link("/l", "/a"), world)).summary == "link to /a"
    assert (await converge(Link("/l", "/b"), world)).summary == "link to /b (is /a)"
    world.write("/f", "")
    assert (await converge(Link("/f", "/b"), world)).summary == "link to /b (replaces a file)"


async def test_absent() -> None:
    world = World()
    world.write("/f", "")
    assert (await converge(Absent("/f"), world)).summary == "remove the file"


HOSTS = "127.0.0.1 localhost\n# a person's line\n"


async def test_block_is_added_replaced_and_removed_and_leaves_the_rest() -> None:
    world = World()
    world.write("/etc/hosts", HOSTS, 0o640)
    await converge(Block("/etc/hosts", "site", "10.0.0.1 a"), world)
    added = f"{HOSTS}# BEGIN deskside site\n10.0.0.1 a\n# END deskside site\n"
    assert world.paths["/etc/hosts"].content == added.encode()
    world.write("/etc/hosts", added + "# later\n", 0o640)
    change = await converge(Block("/etc/hosts", "site", "10.0.0.2 b\n"), world)
    assert change.summary == "write (1 line differs)"
    assert (
        world.paths["/etc/hosts"].content
        == (added.replace("10.0.0.1 a", "10.0.0.2 b") + "# later\n").encode()
    )
    assert world.paths["/etc/hosts"].mode == 0o640
    await converge(Block("/etc/hosts", "site", ""), world)
    assert world.paths["/etc/hosts"].content == f"{HOSTS}# later\n".encode()


async def test_block_copes_with_a_lost_end_a_missing_newline_and_foreign_bytes() -> None:
    world = World()
    world.write("/x", b"caf\xe9\n# BEGIN deskside s\nkeep me")
    await converge(Block("/x", "s", "new"), world)
    expected = b"caf\xe9\n# BEGIN deskside s\nnew\n# END deskside s\nkeep me"
    assert world.paths["/x"].content == expected


async def test_a_first_block_stands_at_the_top_and_moves_there() -> None:
    world = World()
    world.write("/etc/hosts", f"{HOSTS}# BEGIN deskside site\n10.0.0.1 a\n# END deskside site\n# later\n")
    await converge(Block("/etc/hosts", "site", "10.0.0.1 a", first=True), world)
    top = b"# BEGIN deskside site\n10.0.0.1 a\n# END deskside site\n"
    assert world.paths["/etc/hosts"].content == top + f"{HOSTS}# later\n".encode()


def test_lines_that_contradict_a_block_go_and_others_stay() -> None:
    block = Block("/etc/hosts", "site", "10.0.0.1 a", instead=r"127\.0\.1\.1\s.*")
    text = block.within("127.0.0.1 localhost\n 127.0.1.1\ta.old a\n# 127.0.1.1 stays\n127.0.1.10 b\n")
    kept = "127.0.0.1 localhost\n# 127.0.1.1 stays\n127.0.1.10 b\n"
    assert text == f"{kept}# BEGIN deskside site\n10.0.0.1 a\n# END deskside site\n"
    assert block.within(text) == text


async def test_block_makes_a_file_that_is_not_there() -> None:
    change = await converge(Block("/x", "s", "new"), World())
    assert change.summary == "write (new)"
    assert isinstance(change.actions[0], WriteFile)
    assert change.actions[0].mode == 0o644


LINES = st.lists(st.text(string.ascii_letters + " #", max_size=8), max_size=6).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


@given(before=LINES, after=LINES, one=LINES, two=LINES)
def test_block_never_touches_what_is_around_it(before: str, after: str, one: str, two: str) -> None:
    first = Block("/x", "s", one or "x").within(before) + after
    second = Block("/x", "s", two or "y").within(first)
    assert second.startswith(before)
    assert second.endswith(after)
    assert Block("/x", "s", two or "y").within(second) == second
    assert Block("/x", "s", "").within(second) == before + after


async def test_settled_file_has_no_change() -> None:
    world = World()
    world.write("/etc/x", TWO)
    assert await settled(File("/etc/x", TWO), world)
