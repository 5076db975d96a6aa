"""This is where a delegate is looked at from outside: its files, its devices, the model. Nothing is loaded."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from edge_agent.errors import DamagedError
from edge_agent.store.whole_file import open_regular
from edge_agent.vision.delegate_spec import CPU, DelegateSpec
from edge_agent.vision.delegate_verdict import Code, Verdict
from edge_agent.vision.device_nodes import Board
from edge_agent.vision.elf import read_elf

SYMBOLS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
"""What makes a library an external delegate (TFLite's `delegates/external`)."""

_FOLDERS = ("/usr/local/lib", "/lib", "/usr/lib", "/lib64", "/usr/lib64")


def check_delegate(spec: DelegateSpec, custom_ops: Collection[str], board: Board) -> Verdict:
    """Whether a delegate may be tried, and with which library; the verdict is `untried`, or why not.

    `custom_ops` are the operators of the model that are not built in.
    """
    if spec.name == CPU:
        if custom_ops:
            return Verdict(
                code="model-not-accepted", detail=f"the model needs {', '.join(sorted(custom_ops))}"
            )
        return Verdict(code="untried")
    found = _library(spec, board)
    if found.code != "untried":
        return found
    if spec.custom_ops and not set(spec.custom_ops) & set(custom_ops):
        return _but(found, "model-not-accepted", f"it takes models with {' or '.join(spec.custom_ops)}")
    if not spec.devices:
        return found
    nodes = [node for device in spec.devices for node in board.nodes(device)]
    if not nodes:
        wanted = " or ".join(str(device) for device in spec.devices)
        return _but(found, "device-missing", f"no {wanted}")
    if not any(board.may_use(node) for node in nodes):
        return _but(found, "device-forbidden", f"{nodes[0]} cannot be read and written to by this user")
    return found


def _but(found: Verdict, code: Code, detail: str) -> Verdict:
    return Verdict(code=code, detail=detail, library=found.library, library_sha256=found.library_sha256)


def _library(spec: DelegateSpec, board: Board) -> Verdict:
    """The first library that is one; else what is wrong with the first that is there."""
    wrong: Verdict | None = None
    for name in spec.libraries:
        for path in _places(name, board):
            verdict = _fit(path, board)
            if verdict.code == "untried":
                return verdict
            wrong = wrong or verdict
    if wrong is not None:
        return wrong
    told = f"; {spec.advice}" if spec.advice else ""
    # A path to what is looked for by its name as well says nothing more.
    names = [name for name in spec.libraries if "/" not in name or Path(name).name not in spec.libraries]
    return Verdict(code="library-missing", detail=f"no {' or '.join(names)}{told}")


def _fit(path: Path, board: Board) -> Verdict:
    library = str(path)
    try:
        facts, ours = read_elf(path), read_elf(board.program, symbols=False)
    except DamagedError as error:
        return Verdict(code="not-a-library", detail=f"{path}: {error}", library=library)
    except OSError as error:
        return Verdict(code="not-a-library", detail=f"{path}: {error.strerror}", library=library)
    if not facts.suits(ours):
        detail = f"{path} is for {facts.architecture}, this is {ours.architecture}"
        return Verdict(code="wrong-architecture", detail=detail, library=library)
    # A library without a table of sections tells its symbols to nobody but the loader.
    missing = [symbol for symbol in SYMBOLS if facts.symbols and symbol not in facts.symbols]
    if missing:
        detail = f"{path} has no {' and no '.join(missing)}"
        return Verdict(code="symbol-missing", detail=detail, library=library)
    try:
        status = path.stat()
        digest = _digest(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError as error:
        return Verdict(code="not-a-library", detail=f"{path}: {error.strerror}", library=library)
    return Verdict(code="untried", library=library, library_sha256=digest)


@lru_cache(maxsize=32)
def _digest(path: Path, *_identity: int) -> str:
    """sha256 of a library; it is looked at again and again while its device is away, and read once."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _places(name: str, board: Board) -> list[Path]:
    """Where a library is, as the system's loader would look for it."""
    if "/" in name:
        path = Path(name)
        with contextlib.suppress(RuntimeError):  # there is no such user, or this one has no home
            path = path.expanduser()
        path = path.absolute()  # a loader looks for a name without a slash elsewhere, and in another process
        return [path] if _is_there(path, where_forbidden=True) else []
    folders = [*filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")), *_configured(board)]
    return [
        path for folder in folders if _is_there(path := board.place(folder) / name, where_forbidden=False)
    ]


def _is_there(path: Path, *, where_forbidden: bool) -> bool:
    """Whether there is a file; a name that can be no file's is not there. `where_forbidden`: the answer for what this
    user may not look at: a path that was given is opened all the same, so that it is said.
    """
    try:
        return path.exists()
    except PermissionError:
        return where_forbidden
    except (OSError, ValueError):
        return False


def _configured(board: Board) -> list[str]:
    folders = []
    for path in sorted(board.place("/etc/ld.so.conf.d").glob("*.conf")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        folders += [line.strip() for line in lines if line.strip().startswith("/")]
    return [*folders, *_FOLDERS]
