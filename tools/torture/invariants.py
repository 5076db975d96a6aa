"""This is where a home is looked at: right after something was interrupted, and after the next start."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from homes import Given

from edge_agent.agent.learned import learned_samples
from edge_agent.errors import EdgeAgentError
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel
from edge_agent.store.quantised import decode_features
from edge_agent.store.registry import VersionRegistry

TEMPORARY = ".edge-agent-"


def wrecked(home: Path, given: Given, *, damaged: bool = False) -> Iterator[str]:
    """What is wrong right after an interruption, before anybody tidied up: nothing may be lost at any moment.

    `damaged`: the database was damaged to begin with, so that it may not be there.
    """
    yield from _current(home)
    waiting = set(_digests(home / "drop"))
    kept = Counter(_digests(home / "archive"))
    stored: set[str] = set()
    if not damaged:
        with tempfile.TemporaryDirectory() as folder:
            for end in ("", "-wal"):  # the index of the log is made anew: this is what a restart finds
                source = home / f"agent.db{end}"
                if source.exists():
                    shutil.copy(source, folder)
            yield from _sound(Path(folder) / "agent.db")
            stored = set(_rows(Path(folder) / "agent.db"))
    for digest in given.labels.keys() - given.victims:
        if digest not in waiting and (digest not in kept or (digest not in stored and not damaged)):
            yield f"{digest[:12]} left the drop folder before it was stored"


def settled(home: Path, given: Given, *, acknowledged: bool, operation: str) -> Iterator[str]:
    """What is wrong after the next start, which took in what waited.

    `acknowledged`: the operation said that it was done, so that its effect must be there.
    """
    database = home / "agent.db"
    yield from _leftovers(home, operation)  # first: looking at the database makes files beside it
    if damage := list(_sound(database)):
        yield from damage
        return
    labels, places = _labels(database), _rows(database)
    twice = [digest for digest, number in Counter(_all(database)).items() if number > 1]
    yield from (f"{digest[:12]} is stored twice" for digest in twice)
    yield from (f"{one} still waits" for one in _files(home / "drop"))
    yield from _archived(home, places)
    yield from _told(home, given, labels, acknowledged=acknowledged)
    yield from _refused(home, given)
    yield from _current(home)
    yield from _answers(home, database)
    if acknowledged and operation == "rollback" and VersionRegistry(home / "models").pointed() != 1:
        yield "the version that was rolled back to does not answer"


def _told(home: Path, given: Given, labels: dict[str, str], *, acknowledged: bool) -> Iterator[str]:
    """Samples and labels are those that were given, or those that the operation made of them."""
    gone = given.victims - labels.keys()
    if gone and gone != given.victims:
        yield f"{len(gone)} of {len(given.victims)} are forgotten"
    if given.victims and acknowledged and not gone:
        yield "what was forgotten is there again"
    if gone:
        for version in VersionRegistry(home / "models").versions():
            learned = learned_samples(version)
            if gone & learned.keys():
                yield f"version {version.number} still knows what was forgotten"
    for digest, label in given.labels.items():
        if digest in given.victims:
            continue
        after = given.relabelled.get(digest, label)
        allowed = {after} if acknowledged else {label, after}
        if labels.get(digest) not in allowed:
            yield f"{digest[:12]} is {labels.get(digest)}, not {label}"
    if acknowledged and not given.delivered <= labels.keys():
        yield "what was delivered is not there"
    strangers = labels.keys() - given.labels.keys() - given.delivered
    yield from (f"{one[:12]} was never given" for one in strangers)


def _refused(home: Path, given: Given) -> Iterator[str]:
    """What is in `rejected/` was refused rightly, each with its reason."""
    names = [path.name for path in _files(home / "rejected")]
    for name in given.bad:
        if name not in names or f"{name}.reason.txt" not in names:
            yield f"{name} was refused without a trace"
    for name in names:
        if name.removesuffix(".reason.txt") not in given.bad:
            yield f"{name} was put aside"


def _current(home: Path) -> Iterator[str]:
    registry = VersionRegistry(home / "models")
    try:
        version = registry.current()
    except EdgeAgentError as error:
        yield f"no version answers: {error}"
        return
    yield from registry.damage
    if version is None:
        yield "current names no version"


def _sound(database: Path) -> Iterator[str]:
    with closing(sqlite3.connect(database)) as connection:
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            found = [str(error)]
    if found != ["ok"]:
        yield f"the database is damaged: {found[0]}"


def _rows(database: Path) -> dict[str, str]:
    with closing(sqlite3.connect(database)) as connection:
        try:
            rows = connection.execute("SELECT digest, stored_path FROM samples").fetchall()
        except sqlite3.Error:
            return {}
    return {digest.hex(): path for digest, path in rows}


def _labels(database: Path) -> dict[str, str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[0].hex(): row[1] for row in connection.execute("SELECT digest, label FROM samples")}


def _all(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0].hex() for row in connection.execute("SELECT digest FROM samples")]


def _archived(home: Path, places: dict[str, str]) -> Iterator[str]:
    """Database and archive agree, picture by picture."""
    files = {str(path.relative_to(home)): path for path in _files(home / "archive")}
    for digest, place in places.items():
        path = files.pop(place, None)
        if path is None:
            yield f"{place} is not in the archive"
        elif _digest(path) != digest:
            yield f"{place} has other bytes"
    yield from (f"{place} is of no sample" for place in files)


def _answers(home: Path, database: Path) -> Iterator[str]:
    """The current version recognises what it learned from."""
    registry = VersionRegistry(home / "models")
    try:
        version = registry.current()
        if version is None:
            return
        model = MLModel.load(version.path / "model", heads=BUILT_IN_HEADS)
    except EdgeAgentError as error:
        yield str(error)
        return
    learned = learned_samples(version)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT digest, data FROM samples JOIN features ON features.id & 0xffffffffff = sequence"
        ).fetchall()
        number = connection.execute("SELECT count(*) FROM samples").fetchone()[0]
    if len(rows) != number:
        yield f"{number} samples have {len(rows)} features"
    for digest, data in rows:
        if digest.hex() not in learned:
            continue
        features = decode_features(data)
        best = model.classes[int(np.argmax(model.predict_proba(features[np.newaxis])))]
        if best != learned[digest.hex()]:
            yield f"{digest.hex()[:12]} is taken for {best}"


def _leftovers(home: Path, operation: str) -> Iterator[str]:
    yield from (f"left over: {path.relative_to(home)}" for path in home.rglob(f"{TEMPORARY}*"))
    yield from (f"left over: {path.relative_to(home)}" for path in (home / "models" / "staging").glob("*"))
    yield from (f"left over: {path.name}" for path in home.glob("agent.db-[ws]*"))
    if operation != "rebuild":
        yield from (f"left over: {path.name}" for path in home.glob("agent.db.damaged*"))
    numbers = VersionRegistry(home / "models").numbers()
    found = sorted(int(path.name) for path in (home / "models" / "versions").iterdir())
    if numbers != found:
        yield f"versions {found} lie there, {numbers} are published"
    try:
        state = json.loads((home / "status.json").read_text())["state"]
    except (OSError, ValueError, KeyError) as error:
        yield f"status.json: {error!r}"
    else:
        if state != "stopped":
            yield f"status.json says {state}"


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY)
    )


def _digests(folder: Path) -> list[str]:
    return [_digest(path) for path in _files(folder)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
