"""This is where labelled pictures are found: folders, files with the label in their names, or a list of them.

Nothing is decoded here. What is a picture is told by the end of its name; whether it can be read turns out when
its features are extracted.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.apportionment import Generator, generator_for, stratified
from edge_agent.ml.picture_labels import picture_label, printable_path

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".gif")
)
"""How names of pictures end, in any case: the formats that the decoder accepts."""

LabeledPaths = Mapping[str, Sequence[Path | str]]


@dataclass(frozen=True)
class DataSource:
    """Where labelled pictures come from. Made by the class methods; two of the same place are equal.

    Paths become absolute, so that a source means the same from every working folder.
    """

    kind: Literal["labeled_directories", "labeled_files", "files_by_label"]
    path: Path | None = None
    """The folder of the first two kinds."""
    files: tuple[tuple[str, tuple[Path, ...]], ...] = ()
    """The labels and files of the third."""

    @classmethod
    def labeled_directories(cls, at: Path | str) -> DataSource:
        """A folder of folders: the name of each is the label of the pictures directly in it."""
        return cls("labeled_directories", _absolute(at))

    @classmethod
    def labeled_files(cls, at: Path | str) -> DataSource:
        """A folder of pictures: the name of each up to the first period is its label."""
        return cls("labeled_files", _absolute(at))

    @classmethod
    def files_by_label(cls, files: LabeledPaths) -> DataSource:
        """The very files that are named; all are taken for pictures.

        Raises `MLCreateError` TYPE for another kind of value, for what cannot be a label and for a file that is
        given with two labels.
        """
        if not isinstance(files, Mapping):
            raise _wrong(f"files by label are a dictionary of lists of paths, not {files!r}")
        gathered: dict[str, set[Path]] = {}
        labels: dict[Path, str] = {}
        for name, paths in files.items():
            label = picture_label(name, "files by label")
            if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
                raise _wrong(f"the files of {label!r} are a list of paths, not {paths!r}")
            found = {_absolute(one) for one in paths}
            for path in found:
                other = labels.setdefault(path, label)
                if other != label:
                    raise _wrong(
                        f"{printable_path(path)}: is given as {other!r} and as {label!r}; a picture has one label"
                    )
            gathered.setdefault(label, set()).update(found)
        return cls(
            "files_by_label",
            files=tuple((label, tuple(sorted(gathered[label]))) for label in sorted(gathered)),
        )

    def labeled_images(self) -> dict[str, list[Path]]:
        """The pictures of each label, both sorted; hidden files and what is no picture are not seen.

        Raises `MLCreateError` IO for a folder or a link that cannot be read and when nothing is found, TYPE for
        a name that cannot be a label.
        """
        if self.path is None:
            found = {label: list(paths) for label, paths in self.files if paths}
        elif self.kind == "labeled_directories":
            found = _in_directories(self.path)
        else:
            found = _by_name(self.path)
        if not found:
            raise _unusable(*self._nothing())
        return {label: sorted(found[label]) for label in sorted(found)}

    def stratified_split(
        self,
        proportions: Iterable[float],
        seed: int | None = None,
        generator: Generator | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> list[dict[str, list[Path]]]:
        """The pictures divided into parts; every label is divided in these proportions, which are normalised.

        Chance comes from `seed`, and then the same pictures are divided in the same way everywhere, or from a
        `generator` of the caller's (`random.Random`, numpy's `Generator`); without both from the time in
        milliseconds. How is rounded: `edge_agent.ml.apportionment.stratified`. Raises `MLCreateError` as
        `labeled_images`, and TYPE for proportions, a seed or a generator that are none.
        """
        if generator is None:
            chance: Generator = generator_for(int(clock() * 1000) if seed is None else seed)
        elif seed is not None:
            raise _wrong("chance comes from a seed or from a generator, not from both")
        elif not isinstance(generator, Generator):
            raise _wrong(f"a generator has a method shuffle, as random.Random; {generator!r} has none")
        else:
            chance = generator
        return stratified(self.labeled_images(), proportions, chance)

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be kept and compared."""
        if self.path is not None:
            return {"kind": self.kind, "at": str(self.path)}
        return {
            "kind": self.kind,
            "files": {label: [str(one) for one in paths] for label, paths in self.files},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataSource:
        """The source these came from; raises `MLCreateError` TYPE for what is none."""
        if values.get("kind") == "labeled_directories" and "at" in values:
            return cls.labeled_directories(at=values["at"])
        if values.get("kind") == "labeled_files" and "at" in values:
            return cls.labeled_files(at=values["at"])
        if values.get("kind") == "files_by_label" and "files" in values:
            return cls.files_by_label(values["files"])
        raise _wrong(f"not a data source: {dict(values)!r}")

    def _nothing(self) -> tuple[str, str]:
        """Where nothing was found, and what to do."""
        if self.path is None:
            return "files by label", "no file is named; give each label a list of files"
        folders, pictures = _listed(self.path)
        if self.kind == "labeled_directories":
            if pictures:
                return str(self.path), "the pictures lie in it directly; make a folder for each label"
            return str(self.path), "no pictures in its folders; put pictures into a folder for each label"
        if folders:
            return str(
                self.path
            ), "there are folders in it and no pictures; labeled_directories reads folders"
        return str(self.path), "no pictures in it; name them after their labels, as cat.1.jpg"

    def __str__(self) -> str:
        if self.kind == "labeled_directories":
            return f"labelled folders in {printable_path(self.path)}"
        if self.kind == "labeled_files":
            return f"labelled files in {printable_path(self.path)}"
        return f"{_count(sum(len(paths) for _, paths in self.files), 'file')} of {_count(len(self.files), 'label')}"

    def __repr__(self) -> str:
        if self.path is not None:
            return f"DataSource.{self.kind}(at={str(self.path)!r})"
        shown = ", ".join(f"{label!r}: {_count(len(paths), 'file')}" for label, paths in self.files)
        return f"DataSource.files_by_label({{{shown}}})"


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return not name.startswith((".", "~$")) and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122


def _in_directories(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for name in _listed(root)[0]:
        label = picture_label(name, printable_path(root))
        _, pictures = _listed(root / name)
        if pictures:
            found.setdefault(label, []).extend(root / name / one for one in pictures)
        else:
            log.warning("%s: no pictures in it; there is no label %s", printable_path(root / name), label)
    return found


def _by_name(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for name in _listed(root)[1]:
        label = picture_label(name.partition(".")[0], printable_path(root / name))
        found.setdefault(label, []).append(root / name)
    return found


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the pictures directly in a folder; links are followed."""
    folders, pictures = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                kind = _kind(entry)
                if kind == "folder":
                    folders.append(entry.name)
                elif kind == "file" and is_picture(entry.name):
                    pictures.append(entry.name)
    except OSError as error:
        where = error.filename or folder
        raise _unusable(where, f"cannot be read: {error.strerror or error}") from error
    return sorted(folders), sorted(pictures)


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry is, or what its link leads to; raises `OSError` with its path for a link to nothing."""
    if entry.is_symlink():
        entry.stat()
    return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"


def _absolute(path: Path | str) -> Path:
    if not isinstance(path, Path | str) or not str(path) or "\0" in str(path):
        raise _wrong(f"a path is a text or a Path, not {path!r}")
    return Path(path).absolute()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _wrong(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.TYPE, message)


def _unusable(where: object, problem: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.IO, f"{printable_path(where)}: {problem}")
