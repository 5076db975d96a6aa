"""This is where the main job is measured on pictures of one's own: train on some, test on others, by file name.

    python benchmarks/accuracy.py PICTURES [--train 'train_*'] [--test 'test_*']

PICTURES holds a folder for each label.  What matches the first pattern is dropped and learned, what matches the second
is classified; printed are the share of right answers and the time each part took.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EDGE_AGENT = [sys.executable, "-m", "edge_agent.cli"]


def main() -> None:
    """Drop, learn, classify, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--train", default="train_*", help="names to learn from (default %(default)s)")
    parser.add_argument("--test", default="test_*", help="names to classify (default %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given.pictures, given.train, given.test, Path(folder))


def measure(pictures: Path, train: str, test: str, folder: Path) -> None:
    """Run both commands on copies in `folder` and print what came out."""
    learned = sorted(pictures.glob(f"*/{train}"))
    for path in learned:
        target = folder / "drop" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    home = ["--home", str(folder / "home")]
    begin = time.monotonic()
    subprocess.run([*EDGE_AGENT, *home, "run", "--once", "--drop", str(folder / "drop")], check=True)
    between = time.monotonic()
    unseen = sorted(pictures.glob(f"*/{test}"))
    done = subprocess.run(
        [*EDGE_AGENT, *home, "predict", "--json", *map(str, unseen)],
        check=True,
        capture_output=True,
        text=True,
    )
    end = time.monotonic()
    answers = json.loads(done.stdout)
    status = subprocess.run(
        [*EDGE_AGENT, *home, "status", "--json"], check=True, capture_output=True, text=True
    )
    right = sum(answer["label"] == Path(answer["path"]).parent.name for answer in answers)
    print(f"extractor  {json.loads(status.stdout)['extractor']['name']}")
    print(
        f"learned    {len(learned)} pictures in {between - begin:.1f} s (settling, extraction, updates, publishing)"
    )
    print(f"classified {len(answers)} pictures in {end - between:.1f} s")
    print(f"right      {right} of {len(answers)}: {100 * right / len(answers):.1f} %")


if __name__ == "__main__":
    main()
