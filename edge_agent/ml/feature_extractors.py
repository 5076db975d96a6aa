"""This is where it is said which extractor an image classifier is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import UserError


@dataclass(frozen=True)
class CustomFeatureExtractor:
    """Any `.tflite` model that turns a picture into a vector; its card, a `.json` of that name, lies beside it.

    `output_name` names the output that is the vector; None: it has only one.
    """

    model_path: Path
    output_name: str | None = None

    def __post_init__(self) -> None:
        """Take a text for a path; raise `UserError` for what is neither, or a name that is none."""
        if not isinstance(self.model_path, Path | str) or not str(self.model_path):
            raise UserError(f"model_path is a path, not {self.model_path!r}")
        object.__setattr__(self, "model_path", Path(self.model_path))
        if self.output_name is not None and not (isinstance(self.output_name, str) and self.output_name):
            raise UserError(f"output_name is the name of an output or None, not {self.output_name!r}")

    def __str__(self) -> str:
        return f"{self.model_path}" + (f" (output {self.output_name!r})" if self.output_name else "")


@dataclass(frozen=True)
class FeatureExtractorType:
    """A built-in extractor by its revision, or one's own. Made by the class methods."""

    revision: int | None = None
    """Of the built-in one; None: the latest."""
    extractor: CustomFeatureExtractor | None = None
    """One's own; None: a built-in one."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a revision that is no whole number above 0, and for both at once."""
        number = self.revision
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise UserError(f"revision is a whole number, 1 or above, or None, not {number!r}")
        if not isinstance(self.extractor, CustomFeatureExtractor | None):
            raise UserError(f"a CustomFeatureExtractor is expected, not {self.extractor!r}")
        if self.extractor is not None and number is not None:
            raise UserError("an extractor of one's own has no revision")

    @classmethod
    def built_in(cls, revision: int | None = None) -> FeatureExtractorType:
        """The extractor that is part of the package; a revision is never changed, None is the latest."""
        return cls(revision)

    @classmethod
    def scene_print(cls, revision: int | None = None) -> FeatureExtractorType:
        """Apple's name for `built_in`; revisions are ours."""
        return cls.built_in(revision)

    @classmethod
    def custom(cls, extractor: CustomFeatureExtractor | Path | str) -> FeatureExtractorType:
        """An extractor of one's own; a path alone stands for a model with one output."""
        if isinstance(extractor, Path | str):
            extractor = CustomFeatureExtractor(Path(extractor))
        if not isinstance(extractor, CustomFeatureExtractor):
            raise UserError(f"a CustomFeatureExtractor is expected, not {extractor!r}")
        return cls(None, extractor)

    @property
    def is_custom(self) -> bool:
        """Whether it is one's own."""
        return self.extractor is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be kept and compared."""
        if self.extractor is None:
            return {"revision": self.revision}
        return {"model_path": str(self.extractor.model_path), "output_name": self.extractor.output_name}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FeatureExtractorType:
        """What these came from; raises `UserError` for what is none."""
        if "model_path" in values:
            return cls.custom(CustomFeatureExtractor(values["model_path"], values.get("output_name")))
        if "revision" not in values:
            raise UserError(f"not an extractor: {dict(values)!r}")
        return cls.built_in(values["revision"])

    def __str__(self) -> str:
        if self.extractor is not None:
            return str(self.extractor)
        return (
            "the latest built-in extractor"
            if self.revision is None
            else f"built-in extractor {self.revision}"
        )
