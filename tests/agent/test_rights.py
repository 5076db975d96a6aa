"""Who is answered by a running agent, as other users: real ones, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import struct
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from edge_agent.agent.calling import ask_socket
from edge_agent.agent.client import Client
from edge_agent.agent.control import MAX_GUESTS, ControlSocket
from edge_agent.agent.home import Home
from edge_agent.agent.requests import QUESTIONS
from edge_agent.agent.rights import GUESTS_MAY, Peer
from edge_agent.testing import drop_texts
from tests.agent.conftest import Bench

GROUP, OTHER_GROUP, SOMEBODY = 54321, 54322, 54323
"""No users of this machine."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def home() -> Iterator[Path]:
    """The state directory of a running agent: its group may pass through it."""
    folder = Path(tempfile.mkdtemp())  # not in tmp_path: other users may not enter the folders of a test run
    folder.chmod(0o711)
    bench = Bench(folder)
    bench.home.mkdir(mode=0o700)
    os.chown(bench.home, -1, GROUP)
    bench.home.chmod(0o710)
    agent = bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(4)])
    bench.settle()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield bench.home
    agent.stop("the test is over")
    thread.join(timeout=60)
    control.close()
    bench.close()
    shutil.rmtree(folder)


def asked(
    home: Path, name: str, *, user: int, group: int, groups: tuple[int, ...] = (), picture: str = ""
) -> Any:
    """What somebody is answered, or told by an error."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child starts no thread and takes no lock
        child = os.fork()
    if not child:
        try:
            os.setgroups(groups)
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            fd = os.memfd_create("picture")
            os.pwrite(fd, b"dog 99", 0)
            fd = os.open(picture, os.O_RDONLY) if picture else fd
            arguments, files = ({"names": [""]}, [fd]) if name in ("predict", "look") else ({}, [])
            try:
                told = ask_socket(Home(home), name, arguments, files)
            except Exception as error:  # the parent looks at it
                told = f"{type(error).__name__}: {error}"
            os.write(writing, json.dumps(told).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize(("group", "groups"), [(GROUP, ()), (OTHER_GROUP, (OTHER_GROUP, GROUP))])
def test_members_of_the_group_may_ask(home: Path, group: int, groups: tuple[int, ...]) -> None:
    """Whether it is their first group or a further one, and though they may not list the directory."""
    (answer,) = asked(home, "predict", user=SOMEBODY, group=group, groups=groups)

    assert (answer["label"], answer["version"]) == ("dog", 1)
    status = asked(home, "status", user=SOMEBODY, group=group, groups=groups)
    assert (status["state"], "drop_folder" in status) == ("ok", False)


def test_members_of_the_group_may_change_nothing(home: Path) -> None:
    """Each question but those for guests is refused, by its name, and nothing has happened."""
    for name in set(QUESTIONS) - set(GUESTS_MAY):
        told = asked(home, name, user=SOMEBODY, group=GROUP)
        assert told.startswith(f"UserError: {name} is for the agent's own user"), told

    assert Client(Home(home).path, 10.0).status()["version"] == 1


def test_guests_leave_nothing_behind(home: Path) -> None:
    """Neither places nor the files of what was refused: one after the other, any number of them is answered."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(MAX_GUESTS + 1):
        assert asked(home, "look", user=SOMEBODY, group=GROUP).startswith("UserError: look is for")
    assert asked(home, "status", user=SOMEBODY, group=GROUP)["state"] == "ok"
    # The last connection may not be closed on the agent's side yet.
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


def test_the_kernel_refuses_everybody_else(home: Path) -> None:
    """And where somebody opened directory and socket to all, the agent does."""
    assert "you are neither" in asked(home, "status", user=SOMEBODY, group=OTHER_GROUP)

    home.chmod(0o711)
    (home / "agent.sock").chmod(0o666)
    told = asked(home, "status", user=SOMEBODY, group=OTHER_GROUP)
    assert told.startswith("UserError: this agent answers only its own user, root, and members of the group")


def test_guests_leave_places_for_the_owner(home: Path) -> None:
    """Members of the group who connect and say nothing hold up each other, not its owner; they are told so."""
    assert stat.S_IMODE((home / "agent.sock").stat().st_mode) == 0o660
    ready, go = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.setgroups(())
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            from edge_agent.agent.calling import _connect

            held = [_connect(Home(home)) for _ in range(MAX_GUESTS)]
            os.write(ready[1], b".")
            os.read(go[0], 1)
            del held
        finally:
            os._exit(0)
    assert os.read(ready[0], 1) == b"."
    told: object = {}
    for _ in range(200):  # each of those who hold a place takes it on a thread of its own
        if isinstance(told := asked(home, "status", user=SOMEBODY, group=GROUP), str):
            break
    assert Client(home, 10.0).status()["state"] == "ok"
    os.write(go[1], b".")
    os.waitpid(child, 0)
    for fd in (*ready, *go):
        os.close(fd)

    assert str(told).startswith("NotAnsweredError: too many of its group"), told


@pytest.mark.parametrize(("user", "group"), [(SOMEBODY, 3_000_000_000), (3_000_000_000, GROUP)])
def test_ids_have_no_sign(user: int, group: int) -> None:
    """Users and groups beyond two thousand million, as directories and containers give them, are known as well."""

    class Connection:
        def getsockopt(self, _level: int, option: int, _size: int) -> bytes:
            return struct.pack("iII", 1, user, group) if option == socket.SO_PEERCRED else b""

    peer = Peer(cast(socket.socket, Connection()), group)
    assert (peer.is_owner, peer.is_guest) == (False, True)


def test_guests_pictures_may_lie_anywhere(home: Path) -> None:
    """What the agent would not take from them travels as a copy, which their own process makes."""
    (answer,) = asked(home, "predict", user=SOMEBODY, group=GROUP, picture="/proc/version")
    assert (answer["version"], answer["error"]) == (1, None)
