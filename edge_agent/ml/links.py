"""This is where a linked model is found on disk, and opened once for all that link to it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.front import Front
from edge_agent.ml.heads.features import FeaturesHead
from edge_agent.ml.package import DESCRIPTION_FILE, opened_file, read_package
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, resolve
from edge_agent.ml.raw import CARD_SUFFIX, extractor_in
from edge_agent.ml.storing import opened_front
from edge_agent.ml.values import MLFeatureValue

Key = MLParameterKey

_opened: WeakValueDictionary[tuple[str, str], Front] = WeakValueDictionary()
_lock = threading.Lock()


class LinkedStage:
    """A frozen stage that is an extractor elsewhere on disk: the package of one, or its card beside its file.

    `file_name` is looked for in the folders of `search_path`, which colons separate. A relative folder, and
    the empty one, is meant from the model that links; `$BUNDLE_MAIN` is the folder of the running program,
    `$BUNDLE_IDENTIFIER(name)` that of an installed Python package. The first that is there is taken, and has
    to be the one that was linked first (`expected`): features of different extractors cannot be compared.

    Raises `MLModelError` IO, with the folders, when none is there or it is another one.
    """

    kind: ClassVar[str] = "link"

    def __init__(
        self, file_name: str, search_path: str = "", *, folder: Path, expected: str | None = None
    ) -> None:
        values = resolve(
            _DESCRIPTIONS,
            {Key.LINKED_MODEL_FILE_NAME: file_name, Key.LINKED_MODEL_SEARCH_PATH: search_path},
        )
        self._file_name = str(values[Key.LINKED_MODEL_FILE_NAME])
        self._search_path = str(values[Key.LINKED_MODEL_SEARCH_PATH])
        self._folder = folder
        self.path = _located(self._file_name, self._search_path, folder)
        """Where it was found."""
        self._target = _shared(self.path)
        if expected is not None and self.fingerprint != expected:
            raise MLModelError(
                MLModelErrorCode.IO,
                f"{self.path}: is {self.fingerprint}, but the model was made for {expected};"
                " features of different extractors cannot be compared",
            )

    @property
    def input(self) -> MLFeatureDescription:
        """What the linked model takes."""
        return self._target.input

    @property
    def n_features(self) -> int:
        """How many features it gives."""
        return self._target.n_features

    @property
    def fingerprint(self) -> str:
        """That of the linked model."""
        return self._target.fingerprint

    @property
    def target(self) -> Front:
        """The linked model's own stages, which all that link to it share."""
        return self._target

    @property
    def search_path_from_anywhere(self) -> str:
        """The search path with its relative folders made absolute, for a model that is written elsewhere."""
        parts = self._search_path.split(":")
        return ":".join(
            part if is_absolute(part) else os.path.realpath(self._folder / part) for part in parts
        )

    @property
    def parameter_descriptions(self) -> tuple[MLParameterDescription, ...]:
        """File name and search path, to be set when the model is loaded."""
        return (
            MLParameterDescription(Key.LINKED_MODEL_FILE_NAME, self._file_name),
            MLParameterDescription(Key.LINKED_MODEL_SEARCH_PATH, self._search_path),
        )

    def features(self, value: MLFeatureValue) -> NDArray[np.float32]:
        """What the linked model gives for a value."""
        return self._target.row(value)

    def describe(self) -> dict[str, Any]:
        """Where to look and what has to be there."""
        return {
            "linked_model_file_name": self._file_name,
            "linked_model_search_path": self._search_path,
            "fingerprint": self.fingerprint,
        }

    def files(self) -> Mapping[str, bytes]:
        """None: that is what a link is for."""
        return {}


_DESCRIPTIONS = (
    MLParameterDescription(Key.LINKED_MODEL_FILE_NAME, "model"),
    MLParameterDescription(Key.LINKED_MODEL_SEARCH_PATH, ""),
)


def open_stage(
    description: Mapping[str, Any],
    files: Mapping[str, Path],  # noqa: ARG001 - a link has none
    *,
    folder: Path,
    parameters: Mapping[MLParameterKey, object],
) -> LinkedStage:
    """The link that another described; as `edge_agent.ml.kinds.StageOpener` says."""
    stored = {
        Key.LINKED_MODEL_FILE_NAME: description["linked_model_file_name"],
        Key.LINKED_MODEL_SEARCH_PATH: description["linked_model_search_path"],
    }
    values = resolve(_DESCRIPTIONS, {**stored, **parameters})
    return LinkedStage(
        str(values[Key.LINKED_MODEL_FILE_NAME]),
        str(values[Key.LINKED_MODEL_SEARCH_PATH]),
        folder=folder,
        expected=str(description["fingerprint"]),
    )


def is_absolute(search_path: str) -> bool:
    """Whether a search path means the same from wherever a model links."""
    return all(part.startswith(("/", "$")) for part in search_path.split(":"))


def _located(file_name: str, search_path: str, folder: Path) -> Path:
    if file_name in {"", ".."} or Path(file_name).name != file_name or "\0" in file_name:
        raise MLModelError(
            MLModelErrorCode.PARAMETERS,
            f"linked_model_file_name is a name without a folder, not {file_name!r}; folders go into"
            " linked_model_search_path",
        )
    if "\0" in search_path:
        raise MLModelError(
            MLModelErrorCode.PARAMETERS, f"linked_model_search_path: {search_path!r} is no list of folders"
        )
    # Without links and dots, so that "../x" is found from the folder of a model that is not yet written.
    places = [Path(os.path.realpath(_root(part, folder))) for part in search_path.split(":")]
    for place in places:
        try:
            if (place / file_name).exists():
                return (place / file_name).resolve()
        except OSError as error:
            raise MLModelError(
                MLModelErrorCode.IO, f"{place / file_name}: cannot be read: {error.strerror or error}"
            ) from error
    raise MLModelError(
        MLModelErrorCode.IO,
        f"the linked model {file_name!r} is in none of these folders: {', '.join(map(str, places))}",
    )


def _root(part: str, folder: Path) -> Path:
    if part.startswith("$BUNDLE_MAIN"):
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        root = Path(main).resolve().parent if main else Path.cwd()
        return root / part.removeprefix("$BUNDLE_MAIN").lstrip("/")
    if part.startswith("$BUNDLE_IDENTIFIER("):
        name, _, rest = part.removeprefix("$BUNDLE_IDENTIFIER(").partition(")")
        return _package_folder(name) / rest.lstrip("/")
    if part.startswith("$"):
        raise MLModelError(
            MLModelErrorCode.PARAMETERS,
            f"linked_model_search_path: {part!r} is no known root; there are $BUNDLE_MAIN and"
            " $BUNDLE_IDENTIFIER(name)",
        )
    return folder / part


def _package_folder(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    for place in (spec.submodule_search_locations if spec else None) or ():
        return Path(place)
    raise MLModelError(
        MLModelErrorCode.IO, f"linked_model_search_path: no Python package {name!r} is installed"
    )


def _shared(path: Path) -> Front:
    """The stages at a path, the same for all that ask while anybody holds them."""
    described = path if path.suffix == CARD_SUFFIX else path / DESCRIPTION_FILE
    try:
        with opened_file(described) as file:
            key = str(path), hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MLModelError(
            MLModelErrorCode.IO, f"{described}: cannot be read: {error.strerror or error}"
        ) from error
    with _lock:
        front = _opened.get(key)
        if front is None:
            front = _opened[key] = _front_at(path)
    return front


def _front_at(path: Path) -> Front:
    if path.suffix == CARD_SUFFIX:
        front = extractor_in(path).front
    else:
        package, _ = read_package(path)
        # Looked at before it is opened: a link to a link might come back to itself and wait for ever.
        own = package.front is not None and all(one.kind != LinkedStage.kind for one in package.front.stages)
        front = opened_front(package.front, path, {}) if own and package.head == FeaturesHead.name else None
    if front is None:
        raise MLModelError(
            MLModelErrorCode.IO, f"{path}: is no extractor of its own, so nothing can be linked to it"
        )
    return front
