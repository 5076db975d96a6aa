"""This is where samples and labels are forgotten: their files, their rows, and the versions that learned from them.

It is done in steps, each of which may be interrupted and is then done again:

    noted ──► files and rows gone ──► a version without them answers, the others are gone ──► the note is wiped out

The note in the database holds the digests and labels for as long as something is left to do, and no longer.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from edge_agent.agent.archive import Archive
from edge_agent.agent.home import Home
from edge_agent.agent.labels import clean_label
from edge_agent.agent.learned import learned_samples
from edge_agent.agent.publishing import EVALUATION_FILE
from edge_agent.agent.refusals import Refusals
from edge_agent.agent.serving import Serving
from edge_agent.agent.status import silence_status
from edge_agent.agent.traces import names_label
from edge_agent.errors import EdgeAgentError, LabelError, NotFoundError, StoreError
from edge_agent.store.atomic import TEMPORARY_PREFIX, remove_empty_folder, remove_files, remove_tree
from edge_agent.store.erasure import silence_journal
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import Sample, SampleStore
from edge_agent.vision.picture_metadata import picture_digest

log = logging.getLogger(__name__)

NOTE = "forgetting"
"""Where the store keeps what is still to be forgotten."""

NAMED_DIGITS = 12
"""So much of a digest names a picture in a sentence."""

_SWEEP = "sweep"  # the note says nothing any more, but old pages of the database may still
_ANY = 10**18
_REASON_SUFFIX = ".reason.txt"


@dataclass(frozen=True)
class _Note:
    digests: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    upto: int = 0
    """The newest version there was: later ones are made without what is forgotten."""
    removed: bool = False
    """Files and rows are gone; only versions are left."""


class Forgetting:
    """Carries out what is to be forgotten, now or after an interruption.

    `stop_learning` is called with the places of the samples before anything is removed: an update under way must not
    publish what it learned from them, and they have to be taken out of the sums. Methods raise `StoreError` when the
    disk refuses; what is left is tried again by `resume`.
    """

    def __init__(
        self,
        home: Home,
        drop_folder: Path,
        store: SampleStore,
        archive: Archive,
        registry: VersionRegistry,
        serving: Serving,
        refusals: Refusals,
        stop_learning: Callable[[Collection[int]], None],
    ) -> None:
        self._home = home
        self._drop_folder = drop_folder
        self._store = store
        self._archive = archive
        self._registry = registry
        self._serving = serving
        self._refusals = refusals
        self._stop_learning = stop_learning
        self._note = _read(store.meta(NOTE))
        self._looked_at: int | None = None

    @property
    def waits(self) -> bool:
        """Whether the version that answers learned from it, and has to until the next one is published."""
        return self._note is not None and self._note.removed and self._looked_at is not None

    def begin(self, samples: Sequence[Sample], label: str | None) -> None:
        """Write down what is to be forgotten, beside what already was, and forget it as far as that goes now."""
        before = self._note or _Note()
        self._keep(
            _Note(
                digests=tuple({*before.digests, *(sample.digest for sample in samples)}),
                labels=tuple({*before.labels, *filter(None, [label])}),
                upto=max(self._registry.numbers(), default=0),
            )
        )
        self.resume()

    def resume(self) -> None:
        """Go on with what was noted; nothing when nothing is, or when only the next version can be waited for."""
        note = self._note
        if note is None:
            return
        if not note.removed:
            gone = set(note.digests)
            going = [one for one in self._store.list() if one.digest in gone]
            self._stop_learning([one.sequence for one in going])
            self._remove_files(note)
            words = {word for one in going for word in (one.digest[:NAMED_DIGITS], one.source_name) if word}
            self._refusals.remove_named({*words, *note.labels, *(one[:NAMED_DIGITS] for one in note.digests)})
            self._store.remove_all(note.digests)
            silence_status(self._home.status_path, self._store.counts())
            self._keep(note := replace(note, removed=True))
        if self.waits and self._looked_at == self._registry.pointed():
            return
        self._registry.clean()
        answering = {self._registry.pointed(), self._serving.version and self._serving.version.number}
        left = self.versions()
        for number in left:
            if number not in answering:
                self._serving.drop(number)
        if not answering.intersection(left):
            self._wipe()
        elif self._store.count():
            self._looked_at = self._registry.pointed() or 0
        else:
            self.unpublish()

    def unpublish(self) -> None:
        """Let no version answer that learned from it, when none can be made without it: an older one, or none."""
        if self._note is None:
            return
        left = self.versions()
        for number in reversed(self._registry.numbers()):
            if number in left:
                continue
            with suppress(EdgeAgentError):
                self._serving.roll_back(number)
                break
        else:
            self._serving.withdraw()
        for number in left:
            self._serving.drop(number)
        self._wipe()

    def versions(self, label: str | None = None) -> list[int]:
        """The versions that are still to go; with `label` those that know a label."""
        note = self._note or _Note()
        if label is not None:
            note = _Note(labels=(label,), upto=max(self._registry.numbers(), default=0))
        return [
            number for number in self._registry.numbers() if number <= note.upto and self._knows(number, note)
        ]

    def label(self, text: str) -> str:
        """`text` as a label, or, where it can be none, as the folder that pictures were refused under.

        Raises `LabelError` when it is empty, and `NotFoundError` when nothing was refused under that name either.
        """
        try:
            return clean_label(text)
        except LabelError:
            if not text:
                raise
            for folder in self._home.rejected_folder.glob("*/"):
                # The name of what is there has no path in it, so nothing outside is meant.
                if text.isprintable() and normalize("NFC", folder.name) == normalize("NFC", text):
                    return folder.name
            raise NotFoundError(
                f"no sample has the label {text!r}, and nothing was refused under it; `edge-agent status` lists the"
                " labels"
            ) from None

    def speaks_of(self, label: str) -> bool:
        """Whether anything but a sample names a label: a version, a refusal, the status, the journal, the sums.

        Old pages of the database count, and what was refused under it; pictures and their names do not.
        """
        home = self._home
        if self.versions(label) or (home.rejected_folder / label).is_dir():
            return True
        files = (home.status_path, self._refusals.path, home.sums_path)
        return names_label((*files, *home.path.glob(f"{home.database_path.name}*")), label)

    def _knows(self, number: int, note: _Note) -> bool:
        try:
            version = self._registry.get(number)
            learned = learned_samples(version)
            evaluation = json.loads((version.path / EVALUATION_FILE).read_bytes())
        except FileNotFoundError:
            evaluation = {}
        except (StoreError, OSError, ValueError):
            return True  # nobody can say that it does not
        imported = evaluation.get("imported")
        seen = {**learned, **(imported["samples"] if isinstance(imported, Mapping) else {})}
        labels = {*version.labels, *seen.values(), *named_labels(evaluation), *named_labels(version.metrics)}
        return bool(seen.keys() & set(note.digests) or labels & set(note.labels))

    def _remove_files(self, note: _Note) -> None:
        digests = set(note.digests)
        samples = [sample for sample in self._store.list() if sample.digest in digests]
        sizes = {sample.size_bytes for sample in samples}
        home, rejected = self._home.path, self._home.rejected_folder
        self._archive.remove(digests)
        for label in note.labels:
            remove_tree(rejected / label)  # what was refused under it
        copies = list(_same(self._drop_folder, sizes, digests))
        for copy in _same(rejected, sizes, digests):
            copies += [copy, copy.with_name(copy.name + _REASON_SUFFIX)]
        for sample in samples:  # an earlier try, such as one that was cut off, says what it was called
            earlier = rejected / sample.label / sample.source_name
            copies += [earlier, earlier.with_name(earlier.name + _REASON_SUFFIX)]
        for folder in (home, rejected, *rejected.glob("*/")):
            copies += folder.glob(TEMPORARY_PREFIX + "*")
        for aside in home.glob(f"{self._home.database_path.name}.damaged-*"):
            if _holds(aside, {bytes.fromhex(digest) for digest in digests}) or note.labels:
                copies += home.glob(aside.name.removesuffix("-wal").removesuffix("-shm") + "*")
        remove_files(path for path in dict.fromkeys(copies) if os.path.lexists(path))
        for label in {*note.labels, *(sample.label for sample in samples)}:
            for folder in (self._home.archive_folder, rejected):
                remove_empty_folder(folder / label)
        silence_journal(
            self._store.database,
            [*note.labels, *digests, *(sample.source_name for sample in samples)],
        )

    def _keep(self, note: _Note) -> None:
        self._store.set_meta(NOTE, json.dumps(asdict(note)))
        self._note, self._looked_at = note, None

    def _wipe(self) -> None:
        """Forget what was forgotten: first the note's words, then the pages they stood on."""
        self._store.set_meta(NOTE, _SWEEP)
        self._note, self._looked_at = _Note(removed=True), None
        self._store.database.rewrite()
        self._store.set_meta(NOTE, "")
        self._note = None


def named_labels(document: Any) -> Iterator[str]:
    """Every label that what is said about a version names: lists of labels, classes, the confusion, samples."""
    if isinstance(document, list):
        for item in document:
            yield from named_labels(item)
    if not isinstance(document, Mapping):
        return
    for key, value in document.items():
        if key in ("labels", "new_labels", "missing_labels", "per_class"):
            yield from map(str, value)
        elif key == "samples" and isinstance(value, Mapping):
            yield from map(str, value.values())
        elif key in ("true", "predicted"):
            yield str(value)
        if key != "samples":
            yield from named_labels(value)


def _read(text: str | None) -> _Note | None:
    if not text:
        return None
    if text == _SWEEP:
        return _Note(removed=True)
    try:
        known = json.loads(text)
        if isinstance(known, list):  # as it was written before versions were part of it
            return _Note(digests=tuple(known), upto=_ANY) if known else None
        return _Note(
            digests=tuple(known["digests"]),
            labels=tuple(known["labels"]),
            upto=known["upto"],
            removed=known["removed"],
        )
    except (ValueError, KeyError, TypeError):
        log.error("what was to be forgotten cannot be read any more: %s", text[:200])  # noqa: TRY400
        return None


def _same(folder: Path, sizes: Collection[int], digests: Collection[str]) -> Iterator[Path]:
    """Files directly in `folder` or in one of its folders that have one of these digests."""
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        with suppress(OSError):
            state = path.lstat()
            if stat.S_ISREG(state.st_mode) and state.st_size in sizes and _digest(path) in digests:
                yield path


def _digest(path: Path) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return picture_digest(file)


def _holds(path: Path, needles: Iterable[bytes]) -> bool:
    with suppress(OSError):
        data = path.read_bytes()
        return any(needle in data for needle in needles)
    return True
