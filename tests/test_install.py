"""What puts the service on a board: the installer and the Debian package, tried in folders of their own."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_agent

from .test_deploy import DEPLOY, DROP_INS, RULES, UNIT

pytestmark = pytest.mark.once


@pytest.fixture(name="wheels", scope="module")
def _wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every locked package for this machine and Python, and our own wheel; made once."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("the same with every runtime: once is enough")
    if not (DEPLOY / "locks" / f"{platform.machine()}-py{PYTHON}.txt").exists():
        pytest.skip(f"there is no lock for {platform.machine()} and Python {PYTHON}")
    if importlib.util.find_spec("ensurepip") is None:
        pytest.skip("this Python cannot make environments")
    folder = tmp_path_factory.mktemp("installation") / "wheels"
    done = finished("fetch-wheels", folder, platform.machine(), PYTHON)
    if done.returncode and re.search(
        "connection|resolution|timed out|retrying|No matching", done.stderr, re.I
    ):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr
    return folder


PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def finished(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts, with this Python."""
    real = Path(sys.base_prefix, "bin", "python3")
    python = str(real) if real.exists() else sys.executable
    return subprocess.run(
        [str(DEPLOY / script), *map(str, arguments)],
        umask=0o077,  # as of a careful root
        env={**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_installer_is_idempotent_and_takes_back_what_it_did(wheels: Path, tmp_path: Path):
    """Installed without a network, again, with a plugin, rolled back, uninstalled, purged: each does what it says."""
    root = tmp_path / "root"
    root.mkdir()

    def install(*options: str) -> str:
        done = finished("install.sh", "--root", root, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def files() -> dict[str, int]:
        return {
            str(path.relative_to(root)): path.lstat().st_mtime_ns
            for path in root.rglob("*")
            if "__pycache__" not in path.parts
        }

    program = root / "opt" / "edge-agent"
    assert "is installed" in install("--wheels", str(wheels), "--accelerator", "edgetpu")
    first, release = files(), program.readlink()
    assert "everything was in its place already" in install(
        "--wheels", str(wheels), "--accelerator", "edgetpu"
    )
    assert files() == first
    assert (root / "etc/systemd/system/edge-agent.service").read_bytes() == UNIT.read_bytes()
    assert (root / "etc/systemd/system/edge-agent.service.d/edgetpu.conf").exists()
    assert len(list((root / "etc/udev/rules.d").iterdir())) == 1

    said = install("--wheels", str(wheels), "--plugin", str(DEPLOY.parent / "plugins" / "edge-agent-events"))
    assert "is installed" in said
    assert program.readlink() != release
    plugins = subprocess.run(
        [program / "bin" / "edge-agent", "plugins"], capture_output=True, text=True, check=True
    )
    assert "events" in plugins.stdout
    (program / "bin" / "edge-agent").unlink()
    assert "is installed" in install(
        "--wheels", str(wheels), "--plugin", str(DEPLOY.parent / "plugins" / "edge-agent-events")
    ), "a damaged release is made anew"
    install("--rollback")
    assert program.readlink() == release
    assert all(path.lstat().st_mode & 0o055 == 0o055 for path in (program, *program.rglob("bin"))), (
        "for others"
    )

    (root / "var/lib/edge-agent").mkdir(parents=True)
    (root / "var/lib/edge-agent/agent.db").touch()
    assert "still in" in install("--uninstall")
    assert [path for path in files() if Path(root, path).is_file()] == ["var/lib/edge-agent/agent.db"]
    install("--uninstall", "--purge")
    assert [path for path in files() if Path(root, path).is_file()] == []


def test_the_installer_refuses_what_it_cannot_do(tmp_path: Path):
    """Unknown options and devices are mistakes in one line, and nothing is written."""
    for options, words in (
        (["--colour"], "there is no option --colour"),
        (["--accelerator"], "needs a value"),
        (["--accelerator", "quantum"], "no drop-in for quantum; there are: edgetpu"),
        (["--wheels", "nowhere"], "nowhere: there is no such folder"),
        (["--plugin", "nowhere"], "nowhere: there is no such plugin"),
        (["--rollback"], "no earlier release"),
        (["--purge"], "goes with --uninstall"),
    ):
        done = finished("install.sh", "--root", tmp_path, *options)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "switched_on"),
    [(["configure", ""], True), (["configure", "0.0.9"], False), (["triggered"], False)],
)
def test_the_package_switches_the_service_on_once(arguments: list[str], switched_on: bool, tmp_path: Path):
    """Also where systemd does not run, as in an image; after an upgrade it is as its owner left it."""
    script = re.search("<<'POSTINST'\n(.*?)^POSTINST$", (DEPLOY / "build-deb").read_text(), re.S | re.M)
    assert script is not None
    said = tmp_path / "said"
    said.touch()
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{said}\n')
        (tmp_path / name).chmod(0o755)

    text = script[1].replace("/opt/edge-agent/bin/python3", "true")
    subprocess.run(
        ["/bin/sh", "-c", text, "postinst", *arguments], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True
    )

    assert ("systemctl enable edge-agent.service" in said.read_text()) == switched_on
    assert ("systemd-sysusers /usr/lib/sysusers.d" in said.read_text()) == (arguments[0] == "configure")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_package_has_what_it_says(wheels: Path, tmp_path: Path):
    """Built without root: private libraries, the unit, its scripts; nothing that others may write to."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not on this machine")
    done = finished("build-deb", tmp_path, "--wheels", wheels, "--python", PYTHON, "--quick")
    assert done.returncode == 0, done.stderr
    package = Path(done.stdout.strip())

    def field(name: str) -> str:
        return subprocess.run(
            ["dpkg-deb", "-f", package, name], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert field("Package") == "edge-agent"
    assert field("Version") == edge_agent.__version__
    assert f"python3 (>= {PYTHON})" in field("Depends")
    subprocess.run(["dpkg-deb", "-R", package, tmp_path / "tree"], check=True)
    tree = tmp_path / "tree"
    for script in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", tree / "DEBIAN" / script], check=True)
    site = tree / "opt/edge-agent/lib" / f"python{PYTHON}" / "site-packages"
    assert {"edge_agent", "numpy", "PIL", "ai_edge_litert"} <= {path.name for path in site.iterdir()}
    assert (tree / "lib/systemd/system/edge-agent.service").read_bytes() == UNIT.read_bytes()
    assert {path.name for path in DROP_INS + RULES} <= {
        path.name for path in (tree / "usr/share/edge-agent/accelerators").iterdir()
    }
    assert (tree / "opt/edge-agent/bin/python3").readlink() == Path(f"/usr/bin/python{PYTHON}")
    sums = subprocess.run(
        ["md5sum", "--check", "--quiet", "DEBIAN/md5sums"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (sums.returncode, sums.stdout) == (0, "")
    assert not [path for path in tree.rglob("*") if path.name == "__pycache__"]
    assert all(path.stat().st_mode & 0o022 == 0 for path in tree.rglob("*") if not path.is_symlink())
