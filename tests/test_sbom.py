"""What an agent consists of, as others' scanners read it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import edge_agent
from tools.sbom import LOCKS, bill

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
LOCK = f"""# Made by hand.
numpy==2.0.0 --hash=sha256:{"a" * 64}
Some.Package_x==1.2 \\
    --hash=sha256:{"b" * 64} \\
    --hash=sha256:{"c" * 64}
"""


def test_every_package_with_its_hashes():
    """Each line of a lock file, the model that is shipped, and edge-agent itself, which needs them all."""
    document = bill(LOCK, "aarch64-py3.11")
    by_name = {part["name"]: part for part in document["components"]}

    assert by_name["numpy"]["purl"] == "pkg:pypi/numpy@2.0.0"
    assert "BSD" in by_name["numpy"]["licenses"][0]["license"]["name"]
    assert by_name["Some.Package_x"]["purl"] == "pkg:pypi/some-package-x@1.2"
    assert [one["content"] for one in by_name["Some.Package_x"]["hashes"]] == ["b" * 64, "c" * 64]
    assert "licenses" not in by_name["Some.Package_x"]
    model = by_name["efficientnet_lite0_int8"]
    file = Path(edge_agent.__file__).parent / "extractors" / "efficientnet_lite0_int8.tflite"
    assert model["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]
    assert model["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert document["metadata"]["component"]["version"] == edge_agent.__version__
    assert document["dependencies"][0]["dependsOn"] == [part["bom-ref"] for part in document["components"]]


def test_the_same_document_each_time():
    """Nothing of the moment is in it, and another lock file gives another number."""
    first, second = bill(LOCK, "aarch64-py3.11"), bill(LOCK, "aarch64-py3.11")

    assert json.dumps(first) == json.dumps(second)
    assert first["serialNumber"] != bill(LOCK.replace("2.0.0", "2.0.1"), "aarch64-py3.11")["serialNumber"]


def test_a_line_that_cannot_be_read():
    """A package without a hash is an error, not left out."""
    with pytest.raises(SystemExit, match="a line of the lock file could not be read"):
        bill("numpy==2.0.0\n", "x")


@pytest.mark.skipif(not LOCKS.is_dir(), reason="there are no lock files")
def test_the_command_reads_every_lock_file():
    """Each platform's document has its packages; an unknown platform is refused with those that are known."""
    for lock in LOCKS.glob("*-py*.txt"):
        document = bill(lock.read_text(encoding="utf-8"), lock.stem)
        assert len(document["components"]) >= 8
    command = [sys.executable, "-m", "tools.sbom"]
    done = subprocess.run([*command, "aarch64-py3.11"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["bomFormat"] == "CycloneDX"
    done = subprocess.run([*command, "vax-py3.11"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "aarch64-py3.11" in done.stderr) == (2, True)
