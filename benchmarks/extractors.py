"""This is where it is measured what becomes of TFLite files as extractors: kind, scaling, speed, and accuracy.

    OPENBLAS_NUM_THREADS=1 python benchmarks/extractors.py --data DIR FILE.tflite... [--json FILE]

DIR has a folder of pictures for each label; pictures named `test_*` are asked, all others learned (accuracy with the
head `lda`). The scaling is found out on eight pictures of each label that are learned, as `edge-agent extractors add`
does. Milliseconds are the median of a picture, one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import ExtractorError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.vision.adoption import adopt
from edge_agent.vision.audition import AuditionQuestion, hear
from edge_agent.vision.inspection import inspect_model
from edge_agent.vision.preprocessing import ExtractorCard, load_card

TRIED = 8
"""Pictures of each label on which the scaling is found out."""


def accuracy(card: ExtractorCard, pictures: list[tuple[Path, str]]) -> dict[str, Any]:
    """Of `lda`, learned from all pictures but the `test_*` ones, on these; with the median of the times."""
    answer = hear(AuditionQuestion(cards=(card,), pictures=tuple(str(path) for path, _ in pictures)))
    performance = answer.performances[0]
    X = performance.matrix(card.n_features)
    labels = np.array([pictures[place][1] for place in answer.seen])
    asked = np.array([pictures[place][0].name.startswith("test_") for place in answer.seen])
    head = BUILT_IN_HEADS["lda"](card.n_features)
    for _ in head.train(MatrixBatchProvider(X[~asked], labels[~asked].tolist()), {}):
        pass
    said = np.array(head.classes_)[head.predict_proba(X[asked]).argmax(axis=1)]
    return {
        "runtime": answer.runtime,
        "milliseconds": round(performance.milliseconds, 2),
        "accuracy": float((said == labels[asked]).mean()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    folders = sorted(path for path in arguments.data.iterdir() if path.is_dir())
    pictures = [(path, one.name) for one in folders for path in sorted(one.iterdir())]
    tried = [
        (path, one.name)
        for one in folders
        for path in [path for path in sorted(one.iterdir()) if not path.name.startswith("test_")][:TRIED]
    ]
    built_in = load_card(CARD_PATH)
    rows: list[dict[str, Any]] = [
        {"file": built_in.name, "n_features": built_in.n_features, **accuracy(built_in, pictures)}
    ]
    for path in arguments.files:
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = adopt(
                    inspect_model(path.read_bytes()),
                    Path(folder) / "it.tflite",
                    "it",
                    tried,
                    source=path.name,
                )
                rows.append(
                    {
                        "file": path.name,
                        "n_features": made.card.n_features,
                        "scaling": made.document["decided"]["scaling"].split(":")[0],
                        "problems": list(made.problems),
                        **accuracy(made.card, pictures),
                    }
                )
            except ExtractorError as error:
                rows.append({"file": path.name, "refused": str(error)})
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(rows[0]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
