"""Nothing leaves the device: whole programs run where reaching for a network ends the process on the spot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Read by every Python that starts, so that the engine's process is watched like the program itself. Sockets of the
# system's own family never leave the device: the agent and its engine talk over them.
WATCH = """
import os, sys

REACHING = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
ADDRESSED = {"socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg"}
LOCAL = {1, -1}  # AF_UNIX, and what was opened before and is only taken over

def watch(event, arguments):
    outside = (
        event in REACHING
        or event == "socket.__new__" and int(arguments[1]) not in LOCAL
        or event in ADDRESSED and isinstance(arguments[1], tuple)
    )
    if outside:
        os.write(2, f"reached for a network: {event} {arguments[1:]}\\n".encode())
        os._exit(99)

sys.addaudithook(watch)
with open(os.environ["WATCHED"], "a") as file:
    file.write(f"{os.getpid()}\\n")
"""


@pytest.fixture(name="offline")
def _offline(tmp_path):
    """Run Python in `tmp_path` under watch: its end, and how many processes were watched."""
    watch = tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)

    def run(*arguments: str | Path) -> tuple[subprocess.CompletedProcess[str], int]:
        watched = tmp_path / "watched"
        watched.write_text("")
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": f"{watch}{os.pathsep}{ROOT}", "WATCHED": str(watched)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done, len(watched.read_text().split())

    return run


REACHES = {
    "a connection": "socket.create_connection(('192.0.2.1', 9), 1)",
    "a socket of another family": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "a name": "socket.getaddrinfo('example.invalid', 80)",
    "a page": "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)",
    "a child of it": "import subprocess; sys.exit(subprocess.run([sys.executable, '-c',"
    " 'import socket; socket.socket()']).returncode)",
}


@pytest.mark.parametrize("how", REACHES)
def test_the_watch_ends_what_reaches_for_a_network(offline, how):
    """Otherwise what holds below would hold of anything."""
    done, _ = offline("-c", f"import socket, sys; {REACHES[how]}")

    assert done.returncode == 99
    assert "reached for a network" in done.stderr


@pytest.mark.timeout(300)
def test_checklist_68_a_model_is_personalised_offline(offline):
    """Learned, saved, known after a restart and reset, all without a network."""
    for _ in ("learned", "restarted"):
        done, watched = offline(ROOT / "examples" / "stickers.py", "--folder", "stickers")
        assert done.returncode == 0, done.stderr
        assert watched >= 1
    assert "Reset to the factory model" in done.stdout


@pytest.mark.timeout(300)
def test_checklist_68_the_agent_and_its_engine_learn_offline(offline, tmp_path, testdata):
    """E8: from the drop folder over the engine's process to a published version that answers."""
    folders = sorted(path for path in (testdata / "data" / "grocery10").iterdir() if path.is_dir())[:2]
    pictures = [path for folder in folders for path in sorted(folder.iterdir())[:4]]
    for path in pictures:
        place = tmp_path / "drop" / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    agent = ("-m", "edge_agent.cli", "--home", tmp_path / "home")
    done, watched = offline(*agent, "run", "--drop", tmp_path / "drop", "--once")
    assert done.returncode == 0, done.stderr
    assert watched >= 2
    done, _ = offline(*agent, "predict", "--json", pictures[0])

    assert done.returncode == 0, done.stderr
    assert '"label"' in done.stdout
