"""This is where what people and programs ask of an agent is answered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.archive import Archive
from edge_agent.agent.checkup import Checkup
from edge_agent.agent.forgetting import Forgetting
from edge_agent.agent.incoming import Incoming
from edge_agent.agent.labels import clean_label
from edge_agent.agent.learned import learned_samples
from edge_agent.agent.opinions import Opinion
from edge_agent.agent.prediction import prediction
from edge_agent.agent.probation import Probation
from edge_agent.agent.serving import Serving, same_extractor
from edge_agent.agent.sight import Eyes, Sight
from edge_agent.agent.stand_in import StandIn
from edge_agent.errors import NoModelError, NotFoundError, UserError
from edge_agent.ml.model import MLModel
from edge_agent.plugins import PluginHost
from edge_agent.store.erasure import stored_features
from edge_agent.store.registry import Version, VersionRegistry
from edge_agent.store.samples import Sample, SampleStore, encode_features
from edge_agent.vision.engine import Extraction


class Answers:
    """One method for each thing that can be asked; every answer is plain data that JSON can carry.

    Errors are raised as `UserError` and its kind, with one line that says what is wrong and what to do.
    """

    def __init__(
        self,
        store: SampleStore,
        archive: Archive,
        registry: VersionRegistry,
        sight: Sight,
        choose: Callable[[str], str],
        plugins: PluginHost,
        serving: Serving,
        forgetting: Forgetting,
        checkup: Checkup,
        incoming: Incoming,
        probation: Probation,
        stand_in: StandIn,
        background_labels: Collection[str] = (),
    ) -> None:
        self._background_labels = background_labels
        self._asked_about: list[NDArray[np.float32]] = []
        self._store = store
        self._archive = archive
        self._registry = registry
        self._engine = self._sight = sight
        self._choose = choose
        self._plugins = plugins
        self._serving = serving
        self._forgetting = forgetting
        self._checkup = checkup
        self._incoming = incoming
        self._probation = probation
        self._stand_in = stand_in

    def predict(
        self,
        names: Sequence[str],
        fds: list[int],
        *,
        top: int | None = None,
        version: int | None = None,
        counts: bool = True,
    ) -> list[dict[str, Any]]:
        """Classify open files; `names[i]` is what `fds[i]` is called in the answer.

        Descriptors handed to the engine, which closes them, are taken out of `fds`. Only what `counts` is noted, by
        `note_asked`.
        """
        number, model, eyes = self._stand_in.looking(version)
        extractions = self._extracted(eyes, names, fds, digest=False)
        rows = [one.features for one in extractions if one.features is not None]

        def answer(number: int, model: MLModel, known: Sequence[Opinion | None]) -> list[dict[str, Any]]:
            said = iter(known)
            return [
                prediction(
                    str(one.key),
                    one.features,
                    one.error,
                    model,
                    version=number,
                    top=top,
                    background_labels=self._background_labels,
                    said=next(said, None) if one.features is not None else None,
                )
                for one in extractions
            ]

        if version is not None or not counts or self._stand_in.trouble:
            return answer(number, model, ())
        self._asked_about = rows
        return self._probation.answer(number, model, rows, answer)

    def note_asked(self) -> None:
        """Note what the pictures of the last `predict` look like; nobody is to wait for that, so it comes after."""
        rows, self._asked_about = self._asked_about, []
        self._incoming.note(rows)

    def look(self, names: Sequence[str], fds: list[int]) -> list[dict[str, Any]]:
        """What open files look like: `features` as they would be stored, in hexadecimal, and what is said of them.

        `known` is the label of a picture that is stored; before there is a version nothing is said. Descriptors
        are closed as by `predict`.
        """
        fingerprint = self._engine.start().fingerprint
        extractions = self._extracted(self._engine, names, fds)
        model = self._serving.model
        seeing = model if model and same_extractor(model.extractor_fingerprint, fingerprint) else None
        return [
            {
                "path": str(one.key),
                "digest": one.digest,
                "known": self._known(one.digest),
                "fingerprint": fingerprint,
                "features": None if one.features is None else encode_features(one.features).hex(),
                "probabilities": _said(seeing, one.features),
                "error": one.error,
            }
            for one in extractions
        ]

    def _extracted(
        self, eyes: Eyes, names: Sequence[str], fds: list[int], *, digest: bool = True
    ) -> list[Extraction]:
        """All files, before the first is classified: a head that raises leaves none half read."""
        return list(eyes.extract(((name, fds.pop(0)) for name in names), digest=digest))

    def _known(self, digest: str) -> str | None:
        """The label of a stored picture."""
        try:
            return self._store.get(digest).label
        except NotFoundError:
            return None

    def checkup(self) -> dict[str, Any]:
        """Whether everything the agent needs is there and works, and how pictures asked about have changed."""
        return {**self._checkup.look(), "drift": self._incoming.drift()}

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
        if to not in self._registry.numbers():
            raise NotFoundError(
                f"there is no version {to}; versions that learned from something forgotten are removed"
            )
        wanted, known = self._registry.get(to), self._sight.knows
        if known(previous.extractor_fingerprint) and not known(wanted.extractor_fingerprint):
            raise UserError(
                f"version {to} could not answer: the extractor it was made with is not here any more"
            )
        if forgotten := len(set(learned_samples(wanted)) - {sample.digest for sample in self._store.list()}):
            raise UserError(
                f"version {to} learned from samples that were forgotten since ({forgotten}); it is not served again"
            )
        version = self._serving.roll_back(to)
        self._probation.end()
        self._plugins.version_rolled_back(version=version, previous=previous.number)
        return {"version": version.number, "previous": previous.number}

    def import_session(self, folder: str) -> dict[str, Any]:
        """Serve what was trained in the session of a folder, as a new version, because its owner says so."""
        from edge_agent.agent.importing import publish_session  # with all of training, for a rare command

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
        self._probation.begin(version)
        self._plugins.version_published(version=version)
        counts = self._store.counts()
        return {
            **_version(version),
            "previous": previous.number if previous else None,
            "session": folder,
            "labels_without_samples": [label for label in version.labels if not counts.get(label)],
        }

    def use_extractor(self, name: str) -> dict[str, Any]:
        """Look with another extractor from the next step on; the present version answers with its own until then."""
        previous = self._choose(name)
        self._sight.ask_for(name)
        return {"extractor": name, "previous": previous}

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

        Versions that learned from it go too: `versions_left` are those that have to answer until the next one, which
        is due at once, is published. A label without samples goes from whatever else names it.
        """
        doomed, label = self._meant(digest, label)
        learned, before = self._registry.numbers(), self._serving.version
        if not doomed and not (label and self._forgetting.speaks_of(label)):
            raise NotFoundError(f"no sample has the label {label!r}; `edge-agent status` lists the labels")
        self._forgetting.begin(doomed, label)
        now = self._serving.version
        if before is not None and now is not None and now != before:
            self._plugins.version_rolled_back(version=now, previous=before.number)
        return {
            "forgotten": len(doomed),
            "labels": sorted({sample.label for sample in doomed} | ({label} if label else set())),
            **self.forgotten(learned),
        }

    def forgotten(self, before: Sequence[int]) -> dict[str, Any]:
        """Which of the versions there were before went, and which are still to go."""
        return {
            "version": self._serving.version.number if self._serving.version else None,
            "versions_removed": sorted(set(before) - set(self._registry.numbers())),
            "versions_left": self._forgetting.versions(),
        }

    def traces(self, *, digest: str | None, label: str | None) -> list[dict[str, Any]]:
        """By what a sample, or those of a label, would be recognised wherever something of them was left.

        Features that another sample has too, byte for byte, and names that are part of another's are left out.
        """
        doomed, _ = self._meant(digest, label)
        features = stored_features(self._store.database, [sample.digest for sample in doomed])
        gone = {sample.digest for sample in doomed}
        others = "\n".join(
            f"{sample.source_name}\n{sample.stored_path}"
            for sample in self._store.list()
            if sample.digest not in gone
        )
        return [
            {
                "digest": sample.digest,
                "name": sample.source_name if sample.source_name not in others else "",
                "features": [row.hex() for row in features[sample.digest]],
            }
            for sample in doomed
        ]

    def _meant(self, digest: str | None, label: str | None) -> tuple[list[Sample], str | None]:
        if (digest is None) == (label is None):
            raise UserError("say what to forget: either a sample or a label")
        if digest is not None:
            return [self._store.get(digest)], None
        label = self._forgetting.label(label or "")
        return self._store.list(label=label), label


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


def _said(model: MLModel | None, features: NDArray[np.float32] | None) -> dict[str, float]:
    if model is None or features is None:
        return {}
    return dict(zip(model.classes, model.predict_proba(features[None, :])[0].tolist(), strict=True))


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "parent": version.parent,
        "created": datetime.fromtimestamp(version.created, UTC).isoformat(timespec="seconds"),
        "current": version.current,
        "samples": version.n_samples,
        "labels": list(version.labels),
        "accuracy": version.accuracy,
        "evidence": version.metrics.get("evidence"),
        "head": version.head,
        "extractor": version.extractor_name,
    }
