"""This is where the version that answers predictions is held."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from edge_agent.errors import DamagedError, EdgeAgentError, NoModelError
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import MLModel
from edge_agent.store.registry import Version, VersionRegistry

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"
"""The model package inside a version's folder."""


class Serving:
    """The current version in memory, changed only by publishing and rolling back; predictions outlive disk trouble."""

    def __init__(self, registry: VersionRegistry, heads: Mapping[str, type[Head]]) -> None:
        self._registry = registry
        self._heads = heads
        self._other: tuple[int, MLModel] | None = None
        self.version: Version | None = None
        self.model: MLModel | None = None
        self.trouble = ""

    def reload(self) -> None:
        """Serve what the registry's pointer names; a damaged version is passed over for the newest sound one."""
        try:
            version = self._registry.current()
        except DamagedError as error:
            log.error("no version is sound: %s", error)  # noqa: TRY400  # foreseen
            self.version = self.model = None
            self.trouble = (
                f"no published version is sound; a new one is made from the stored samples: {error}"
            )
            return
        self.trouble = "; ".join(self._registry.damage)
        if version is None:
            self.version = self.model = None
            return
        try:
            self.model = MLModel.load(version.path / MODEL_FOLDER, heads=self._heads)
        except EdgeAgentError as error:
            self.trouble = f"version {version.number} cannot be loaded: {error}"
            log.error("%s", self.trouble)  # noqa: TRY400  # foreseen
            if self.model is None:
                self.version = None
            return
        self.version = version

    def roll_back(self, number: int) -> Version:
        """Serve an older version; it is loaded before the pointer moves, so that what is shown is what answers.

        Raises `NotFoundError`, `DamagedError` or `MLModelError`; the present version goes on then.
        """
        _, model = self.model_for(number)
        self._registry.roll_back(number)
        self.version, self.model, self.trouble = self._registry.get(number), model, ""
        return self.version

    def withdraw(self) -> None:
        """Serve nothing until the next version is published."""
        self._registry.withdraw()
        self.version = self.model = None
        self.trouble = ""

    def drop(self, number: int) -> None:
        """Remove a version that does not answer, from memory too; `StoreError` for the one that does."""
        if self._other is not None and self._other[0] == number:
            self._other = None
        self._registry.remove(number)

    def model_for(self, number: int | None) -> tuple[int, MLModel]:
        """The number and the model of a version, the current one by default.

        Raises `NoModelError` when nothing was published, `NotFoundError` for an unknown version.
        """
        if self.version and self.model and number in (None, self.version.number):
            return self.version.number, self.model
        if number is None:
            raise NoModelError(
                self.trouble
                or "no version has been published yet; put pictures into drop/<label>/ or use `edge-agent add`"
            )
        if self._other is None or self._other[0] != number:
            version = self._registry.get(number)
            self._registry.verify(number)
            self._other = (number, MLModel.load(version.path / MODEL_FOLDER, heads=self._heads))
        return self._other


def same_extractor(one: str, other: str) -> bool:
    """Whether two fingerprints name the same file and preprocessing; runtime and delegate may differ.

    Such features are close enough to answer with (cosine 0.998 and above) while a version of their own is made, and
    are never mixed in training.
    """
    return one.split(":")[:3] == other.split(":")[:3]
