"""This is where the main job is done once, from dropped files to answers, and compared with another machine's run.

    python tools/vertical_slice.py PICTURES --out FILE.npz [--like OTHER.npz]...

PICTURES holds a folder for each label; what is called `train_*` there is dropped and learned, `test_*` is asked about.
FILE keeps the features of every learned picture and the answers, so that a run elsewhere can be compared with it:
the same pictures must give nearly the same features on every processor (cosine), and the same answers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.agent.home import Home
from edge_agent.store.samples import SampleStore

LEAST_COSINE = 0.99
"""Below it the features of two machines are not of one extractor; integer kernels that round otherwise stay above."""

PACKAGES = (
    "ai-edge-litert",
    "tflite-runtime",
    "numpy",
    "pillow",
    "msgspec",
    "watchdog",
    "click",
    "pluggy",
    "rich",
)


def main() -> None:
    """Do it all, print a line for each part, and exit with 1 when the machines disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where features and answers are kept")
    parser.add_argument("--like", type=Path, action="append", default=[], help="compare with this run")
    parser.add_argument(
        "--learned", type=int, default=6, help="pictures learned of each label (default %(default)s)"
    )
    parser.add_argument(
        "--asked", type=int, default=3, help="pictures asked of each label (default %(default)s)"
    )
    parser.add_argument(
        "--patience", type=float, help="seconds until a picture is given up, where all is slow"
    )
    given = parser.parse_args()
    print_versions()
    with tempfile.TemporaryDirectory() as folder:
        found = slice_through(given.pictures, given.learned, given.asked, Path(folder), given.patience)
    np.savez(given.out, **found)
    agreements = [agrees(found, path) for path in given.like]  # all of them are printed
    if not all(agreements):
        sys.exit(1)


def print_versions() -> None:
    """What runs here, in three lines."""
    print(
        f"machine    {platform.machine()}, {struct.calcsize('P') * 8} bit, Python {platform.python_version()},"
        f" {' '.join(platform.libc_ver())}, QEMU_CPU {os.environ.get('QEMU_CPU', 'not set')}"
    )
    print("packages   " + ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name))))


def installed(package: str) -> str | None:
    """The version of a package, or None without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def slice_through(
    pictures: Path, learned: int, asked: int, folder: Path, patience: float | None
) -> dict[str, Any]:
    """Every command a first day needs, each in a process of its own; the features and answers that came of it."""
    home = folder / "home"
    labels = sorted(path.name for path in pictures.iterdir() if any(path.glob("train_*")))
    edge_agent(home, "init", str(home))
    if patience:
        settings = f"[extractor]\ntimeout_seconds = {patience}\nstart_timeout_seconds = {patience}\n"
        (home / "edge-agent.toml").write_text(settings)
    for label in labels:
        (home / "drop" / label).mkdir(parents=True)
        for path in sorted((pictures / label).glob("train_*"))[:learned]:
            shutil.copy(path, home / "drop" / label)
    unseen = [path for label in labels for path in sorted((pictures / label).glob("test_*"))[:asked]]

    edge_agent(home, "run", "--once")
    answers = json.loads(edge_agent(home, "predict", "--json", *map(str, unseen)))
    status = json.loads(edge_agent(home, "status", "--json"))
    right = sum(answer["label"] == Path(answer["path"]).parent.name for answer in answers)
    print(
        f"learned    {status['samples']} pictures of {len(labels)} labels, {status['rejected']} rejected;"
        f" right of {len(answers)} asked: {right}"
    )
    digests, features = stored(home)

    edge_agent(home, "export", str(folder / "whole.tflite"))
    edge_agent(home, "samples", "relabel", digests[0][:12], labels[-1])
    edge_agent(home, "update", "--force")
    edge_agent(home, "rollback")
    edge_agent(home, "forget", "--label", labels[0], "--verify")
    return {
        "digests": np.array(digests),
        "features": features,
        "asked": np.array([f"{path.parent.name}/{path.name}" for path in unseen]),
        "answers": np.array([answer["label"] or "" for answer in answers]),
        "probabilities": np.array(
            [[answer["probabilities"].get(label, 0.0) for label in labels] for answer in answers]
        ),
    }


def edge_agent(home: Path, *arguments: str) -> str:
    """What a command said on standard output; one that fails ends it all, with what it said."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "edge_agent.cli", "--home", str(home), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"{time.monotonic() - begin:7.1f} s  {' '.join(arguments[:2])}", flush=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def stored(home: Path) -> tuple[list[str], Any]:
    """The digests of all samples and their features, float32 [samples, n_features]."""
    manifest = min(Home(home).models_folder.glob("versions/*/manifest.json"))
    fingerprint = json.loads(manifest.read_text())["extractor_fingerprint"]
    with SampleStore(Home(home).database_path, read_only=True) as store:
        digests = sorted(store.snapshot(fingerprint).digests)
        return digests, store.snapshot(fingerprint).provider(digests).arrays(slice(None))[0]


def agrees(found: dict[str, Any], path: Path) -> bool:
    """Whether features and answers are those of the run kept at `path`; prints how near they are."""
    with np.load(path) as other:
        if list(other["digests"]) != list(found["digests"]) or list(other["asked"]) != list(found["asked"]):
            sys.exit(f"{path} was made from other pictures")
        A, B = other["features"].astype(float), found["features"].astype(float)
        cosines = (A * B).sum(1) / np.linalg.norm(A, axis=1) / np.linalg.norm(B, axis=1)
        same = int((other["answers"] == found["answers"]).sum())
        apart = float(np.abs(other["probabilities"] - found["probabilities"]).max())
    print(
        f"like {path.stem}: cosine of features least {cosines.min():.6f}, mean {cosines.mean():.6f},"
        f" {int((A == B).all(axis=1).sum())} of {len(A)} equal bit by bit;"
        f" answers {same} of {len(found['answers'])} the same, probabilities at most {apart:.4f} apart"
    )
    return bool(cosines.min() >= LEAST_COSINE)


if __name__ == "__main__":
    main()
