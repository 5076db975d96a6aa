"""This is where what people and programs ask of an agent is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.archive import Archive
from edge_agent.agent.importing import publish_session
from edge_agent.agent.labels import clean_label
from edge_agent.agent.publishing import learned_samples
from edge_agent.agent.serving import Serving
from edge_agent.errors import NoModelError, NotFoundError, UserError
from edge_agent.ml.model import MLModel
from edge_agent.plugins import PluginHost
from edge_agent.store.registry import Version, VersionRegistry
from edge_agent.store.samples import Sample, SampleStore
from edge_agent.vision.engine import Engine

FORGETTING = "forgetting"
"""Where the store keeps the digests a removal has still to deal with."""


class Answers:
    """One method for each thing that can be asked; every answer is plain data that JSON can carry.

    Errors are raised as `UserError` and its kind, with one line that says what is wrong and what to do.
    """

    def __init__(
        self,
        store: SampleStore,
        archive: Archive,
        registry: VersionRegistry,
        engine: Engine,
        plugins: PluginHost,
        serving: Serving,
    ) -> None:
        self._store = store
        self._archive = archive
        self._registry = registry
        self._engine = engine
        self._plugins = plugins
        self._serving = serving

    def predict(
        self, names: Sequence[str], fds: list[int], *, top: int | None = None, version: int | None = None
    ) -> list[dict[str, Any]]:
        """Classify open files; `names[i]` is what `fds[i]` is called in the answer.

        Descriptors that are handed to the engine, which closes them, are taken out of `fds`.
        """
        number, model = self._serving.model_for(version)
        if not same_extractor(model.extractor_fingerprint, self._engine.start().fingerprint):
            raise NoModelError(
                f"version {number} was made with another extractor than the one configured; once the archive was"
                " read again, which a running agent does by itself, the next version answers"
            )

        def jobs() -> Iterator[tuple[object, int]]:
            for name in names:
                yield name, fds.pop(0)

        # All are extracted before the first is classified: a head that raises leaves no file half read.
        extractions = list(self._engine.extract(jobs()))
        return [
            prediction(str(one.key), one.features, one.error, model, version=number, top=top)
            for one in extractions
        ]

    def versions(self) -> list[dict[str, Any]]:
        """All published versions, newest first."""
        return [_version(version) for version in reversed(self._registry.versions())]

    def roll_back(self, to: int | None) -> dict[str, Any]:
        """Serve an older version again: the parent of the current one, or the one named."""
        previous = self._serving.version
        if previous is None:
            raise NoModelError("no version has been published yet, so there is nothing to roll back to")
        if to is None:
            to = previous.parent
        if to is None:
            raise NotFoundError(f"version {previous.number} is the first; there is nothing to roll back to")
        stored = {sample.digest for sample in self._store.list()}
        forgotten = sum(digest not in stored for digest in learned_samples(self._registry.get(to)))
        if forgotten:
            raise UserError(
                f"version {to} learned from samples that were forgotten since ({forgotten}); it is not served again"
            )
        version = self._serving.roll_back(to)
        self._plugins.version_rolled_back(version=version, previous=previous.number)
        return {"version": version.number, "previous": previous.number}

    def import_session(self, folder: str) -> dict[str, Any]:
        """Serve what was trained in the session of a folder, as a new version, because its owner says so."""
        previous = self._serving.version
        version = publish_session(
            self._registry,
            Path(folder),
            self._plugins.register_heads(),
            self._engine.start(),
            stored={sample.digest for sample in self._store.list()},
            parent=previous.number if previous else None,
        )
        self._serving.reload()
        self._plugins.version_published(version=version)
        counts = self._store.counts()
        return {
            **_version(version),
            "previous": previous.number if previous else None,
            "session": folder,
            "labels_without_samples": [label for label in version.labels if not counts.get(label)],
        }

    def samples(self, label: str | None, limit: int | None, offset: int) -> list[dict[str, Any]]:
        """The stored samples in the order they came."""
        label = clean_label(label) if label is not None else None
        if label is not None and label not in self._store.counts():
            raise NotFoundError(f"no sample has the label {label!r}; `edge-agent status` lists the labels")
        rows = self._store.list(label=label, limit=limit, offset=offset)
        return [_sample(sample) for sample in rows]

    def relabel(self, digest: str, label: str) -> dict[str, Any]:
        """Give a sample another label; the next version learns it so."""
        label = clean_label(label)
        before = self._store.get(digest)
        self._store.relabel(before.digest, label)
        self._store.set_stored_path(before.digest, self._archive.path_under(before, label))
        after = self._store.get(before.digest)
        self._archive.settle(after)
        return {"digest": after.digest, "label": label, "previous": before.label}

    def forget(self, *, digest: str | None, label: str | None) -> dict[str, Any]:
        """Remove a sample, or all of a label: the picture's bytes, its features and its row.

        Versions that learned from it are replaced by the next update, which is due at once.
        """
        if (digest is None) == (label is None):
            raise UserError("say what to forget: either a sample or a label")
        label = clean_label(label) if label is not None else None
        doomed = [self._store.get(digest)] if digest is not None else self._store.list(label=label)
        if not doomed:
            raise NotFoundError(f"no sample has the label {label!r}; `edge-agent status` lists the labels")
        # The list is kept until all is gone, so that an interrupted removal is finished at the next start.
        self._store.set_meta(FORGETTING, json.dumps([sample.digest for sample in doomed]))
        self.finish_forgetting()
        return {"forgotten": len(doomed), "labels": sorted({sample.label for sample in doomed})}

    def finish_forgetting(self) -> None:
        """Carry out what the store says is to be forgotten; nothing when nothing is.

        When no sample is left, no version may answer from what was learned, so all of them go too.
        """
        doomed = json.loads(self._store.meta(FORGETTING) or "[]")
        if not doomed:
            return
        self._archive.remove(doomed)
        self._store.remove_all(doomed)
        if not self._store.count():
            self._serving.retire()
        self._store.set_meta(FORGETTING, "[]")


def same_extractor(one: str, other: str) -> bool:
    """Whether two fingerprints name the same file and preprocessing; runtime and delegate may differ.

    Such features are close enough to answer with (cosine 0.998 and above) while a version of their own is made, and
    are never mixed in training.
    """
    return one.split(":")[:3] == other.split(":")[:3]


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "digest": sample.digest,
        "label": sample.label,
        "added": sample.added_at,
        "source": sample.source_name,
        "path": sample.stored_path,
        "width": sample.width,
        "height": sample.height,
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "parent": version.parent,
        "created": datetime.fromtimestamp(version.created, UTC).isoformat(timespec="seconds"),
        "current": version.current,
        "samples": version.n_samples,
        "labels": list(version.labels),
        "accuracy": version.accuracy,
        "head": version.head,
        "extractor": version.extractor_name,
    }


def prediction(
    path: str,
    features: NDArray[np.float32] | None,
    error: str | None,
    model: MLModel,
    *,
    version: int | None,
    top: int | None,
) -> dict[str, Any]:
    """What a model says of the features [n_features] of a picture, as `predict --json` has it.

    `features` are None where `error` says why; `version` is None for a model that is none.
    """
    answer: dict[str, Any] = {
        "path": path,
        "label": None,
        "probability": None,
        "probabilities": {},
        "unknown": False,
        "version": version,
        "error": error,
    }
    if features is None:
        return answer
    X = features[None, :]
    row = model.predict_proba(X)[0]
    order = np.argsort(-row, kind="stable")[:top]
    best = int(order[0])
    answer["label"] = model.classes[best]
    answer["probability"] = float(row[best])
    answer["probabilities"] = {model.classes[i]: float(row[i]) for i in order}
    answer["unknown"] = bool(model.is_unknown(X)[0])
    return answer
