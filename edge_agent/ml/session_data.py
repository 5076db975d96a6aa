"""This is where the files of a training session are divided into those to learn from and those to validate by."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.classifier_parameters import ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.feature_cache import FileKey
from edge_agent.ml.session_folder import GIVEN, TRAINING, VALIDATION, DataFile, listed

log = logging.getLogger(__name__)

Listed = Sequence[tuple[FileKey, str]]


def assigned(found: Listed, parameters: ModelParameters) -> list[DataFile]:
    """Every file with its part: validation by its own source, or a share of each label of the training data.

    The share is drawn with the strategy's seed, or with that of the parameters: the same files, the same
    parts.
    """
    validation = parameters.validation
    held: set[str] = set()
    given: list[DataFile] = []
    if validation.source is not None:
        given = [DataFile(key, label, GIVEN) for key, label in listed(validation.source.labeled_images())]
    elif validation.strategy is not None:
        share = validation.strategy.resolve(len(found))
        if share > 0.0:
            seed = validation.strategy.seed
            held = _drawn(found, share, parameters.seed if seed is None else seed)
    files = [DataFile(key, label, VALIDATION if key.path in held else TRAINING) for key, label in found]
    _check_apart(files, given)
    return files + given


def _drawn(found: Listed, share: float, seed: int) -> set[str]:
    by_label: dict[str, list[Path]] = {}
    for key, label in found:
        by_label.setdefault(label, []).append(Path(key.path))
    source = DataSource.files_by_label(by_label)
    _, held = source.stratified_split([1.0 - share, share], seed=seed)
    return {str(path) for paths in held.values() for path in paths}


def merged(known: Iterable[DataFile], found: Listed, parameters: ModelParameters) -> list[DataFile]:
    """The files as they are now. Those known keep their part; a new one is validated by as chance wants it.

    Chance is a sum of its path, so that nothing else decides. The share is that of the whole.
    """
    before = list(known)
    given = [one for one in before if one.role == GIVEN]
    roles = {one.key.path: one.role for one in before if one.role != GIVEN}
    strategy = parameters.validation.strategy
    share = strategy.resolve(len(found)) if strategy is not None else 0.0
    files = []
    for key, label in found:
        role = roles.get(key.path)
        if role is None:
            drawn = hashlib.sha256(f"{parameters.seed}/{key.path}".encode(errors="surrogateescape")).digest()
            role = VALIDATION if int.from_bytes(drawn[:4], "big") < share * 2**32 else TRAINING
        files.append(DataFile(key, label, role))
    return files + given


def _check_apart(files: Iterable[DataFile], given: Iterable[DataFile]) -> None:
    both = {one.key.path for one in files} & {one.key.path for one in given}
    if both:
        raise MLCreateError(
            MLCreateErrorCode.GENERIC,
            f"{sorted(both)[0]}: is among the pictures to learn from and among those to validate by"
            f" ({len(both)} such files)",
        )
