"""This is where a model lies on disk: a directory of `model.json` and the arrays it names."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import (
    DiskFullError,
    MLModelError,
    MLModelErrorCode,
    ModelDiskFullError,
    ModelNotSavedError,
    StoreError,
)
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    publish_directory,
    remove_file,
    remove_tree,
    translated,
    write_file,
)

FORMAT = 1
"""The version of the layout; older and newer ones are refused."""

DESCRIPTION_FILE = "model.json"
_ARRAYS_FILE = "head.npz"
_STAGE_PREFIX = "stage-"
_numbers = itertools.count()

UNFIT = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, RecursionError)
"""What reading something back may end with where it is not what was written: another type, another number."""


class _Format(msgspec.Struct):
    format: int


class StageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen stage before the head."""

    kind: str
    described: dict[str, Any]
    """What the stage says of itself."""
    files: dict[str, str]
    """The sha256 of each of its files, by name."""


class FrontEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen stages of a pipeline."""

    names: tuple[str, ...]
    """Of all stages, the last among them."""
    stages: tuple[StageEntry, ...]


class ModelPackage(msgspec.Struct, frozen=True, kw_only=True):
    """What `model.json` says, apart from the format and the arrays."""

    head: str
    """Name of the learning method."""
    labels: tuple[str | int, ...]
    n_features: int
    extractor_fingerprint: str
    parameters: dict[str, bool | int | float | str]
    """Defaults of the next update, by name."""
    metadata: dict[str, Any]
    learned: dict[str, Any]
    """What the head says of itself."""
    input_name: str = "features"
    output_name: str = "label"
    label_type: Literal["", "string", "int64", "double"] = ""
    """What the labels are; empty while the first update may decide."""
    not_updatable_because: str = ""
    parameter_descriptions: list[dict[str, Any]] | None = None
    """What the author allows, None for all that the head allows."""
    front: FrontEntry | None = None
    """The stages of a pipeline before its last one, which is the head; None for a model that is no pipeline."""


class _ModelFile(ModelPackage, frozen=True, kw_only=True):
    format: int
    arrays_file: str
    arrays_sha256: str


def write_package(
    folder: Path,
    package: ModelPackage,
    arrays: Mapping[str, NDArray[Any]],
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Save a model as the directory `folder`, whole or not at all; `files` are those that its stages name.

    A new directory is built aside and renamed into place. In one that exists `model.json` is replaced last
    and in one step, so a model that was there stays loadable until then.

    Raises `ModelNotSavedError` (`ModelDiskFullError`) with the path when the disk refuses.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    try:
        _write(folder, package, buffer.getvalue(), files or {})
    except DiskFullError as error:
        raise ModelDiskFullError(str(error)) from error
    except StoreError as error:
        raise ModelNotSavedError(str(error)) from error


def _write(folder: Path, package: ModelPackage, data: bytes, files: Mapping[str, bytes]) -> None:
    if folder.is_dir():
        _fill(folder, package, data, files)
        return
    staging = folder.parent / f"{TEMPORARY_PREFIX}{folder.name}-{os.getpid()}-{next(_numbers)}"
    with translated(folder, "save a model"):
        staging.mkdir(mode=0o700)
    try:
        _fill(staging, package, data, files)
        publish_directory(staging, folder)
    finally:
        remove_tree(staging)


def _fill(folder: Path, package: ModelPackage, data: bytes, files: Mapping[str, bytes]) -> None:
    digest = hashlib.sha256(data).hexdigest()
    # A model that is replaced keeps its arrays until the new description names the new ones.
    replacing = (folder / DESCRIPTION_FILE).exists()
    name = f"head-{digest[:12]}.npz" if replacing else _ARRAYS_FILE
    content = _ModelFile(
        **{one: getattr(package, one) for one in package.__struct_fields__},
        format=FORMAT,
        arrays_file=name,
        arrays_sha256=digest,
    )
    try:
        description = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    except UnicodeEncodeError as error:
        raise MLModelError(
            MLModelErrorCode.IO, f"{folder}: cannot be written: the text {error.object!r} is no Unicode"
        ) from error
    write_file(folder / name, data)
    kept = {name}
    for stage in package.front.stages if package.front else ():
        for file, sha256 in stage.files.items():
            stored = folder / stored_name(file, sha256)
            kept.add(stored.name)
            if not stored.exists() or file_sha256(stored) != sha256:
                write_file(stored, files[file])
    write_file(folder / DESCRIPTION_FILE, description)
    for pattern in ("head*.npz", f"{_STAGE_PREFIX}*"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                remove_file(path)


def stored_name(file: str, sha256: str) -> str:
    """The name under which a model keeps a file of one of its stages."""
    return f"{_STAGE_PREFIX}{sha256[:12]}-{Path(file).name}"


def file_sha256(path: Path) -> str:
    """The sum of a file's bytes; raises `MLModelError` IO where it cannot be read."""
    try:
        with opened_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_package(folder: Path) -> tuple[ModelPackage, dict[str, NDArray[Any]]]:
    """What was written, checked against its sum.

    Raises `MLModelError` IO with the path when it is missing, damaged, or of a format that is too old or too
    new.
    """
    path = folder / DESCRIPTION_FILE
    try:
        with opened_file(path) as file:
            data = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version != FORMAT:
            age = "new" if version > FORMAT else "old"
            raise MLModelError(
                MLModelErrorCode.IO,
                f"{path}: format {version} is too {age} for this edge_agent, which reads format {FORMAT}",
            )
        content = msgspec.json.decode(data, type=_ModelFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    return content, _read_arrays(folder / Path(content.arrays_file).name, content.arrays_sha256)


def _read_arrays(path: Path, digest: str) -> dict[str, NDArray[Any]]:
    try:
        with opened_file(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise damaged(path, "its bytes are not the ones that were written")
            file.seek(0)
            return _arrays_in(file)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (*UNFIT, SyntaxError, EOFError, RuntimeError, TokenError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, str(error) or type(error).__name__) from error


def _arrays_in(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file as `np.savez` makes it; raises ValueError for one that would grow when it is read."""
    with zipfile.ZipFile(file) as members:
        if any(one.compress_type != zipfile.ZIP_STORED for one in members.infolist()):
            raise ValueError("its arrays are compressed, which nothing here writes")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def package_path(given: object) -> Path:
    """Where a model is said to be; raises `MLModelError` IO for what is no path, or one that may not be followed."""
    if not isinstance(given, str | Path) or "\0" in str(given):
        raise MLModelError(MLModelErrorCode.IO, f"{given!r} is not the path of a model")
    path = Path(given)
    try:
        path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error
    return path


def opened_file(path: Path) -> io.BufferedReader:
    """A file to be read; raises OSError for everything else, as pipes and devices never come to an end."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is not a regular file")


def damaged(path: Path, problem: str) -> MLModelError:
    """The error for a file or directory that is there but not as it was written."""
    return MLModelError(MLModelErrorCode.IO, f"{path}: damaged: {problem}")


def _unreadable(path: Path, error: OSError) -> MLModelError:
    return MLModelError(MLModelErrorCode.IO, f"{path}: cannot be read: {error.strerror or error}")
