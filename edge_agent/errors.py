"""This is where every exception of the project is defined.

EdgeAgentError
├── UserError                  what a person can mend; one line, exit status 2
│   ├── ConfigError            every problem of a configuration at once
│   ├── LabelError             a label that cannot be a folder name
│   ├── HomeError              the state directory cannot be used
│   │   └── HomeLockedError    another process holds it
│   ├── PluginError            a plugin that cannot be loaded, or that gave a wrong answer
│   ├── NotFoundError          a sample, a version or a file that is not there
│   └── NoModelError           nothing has been published yet
├── ImageError                 this picture will fail again the same way
├── ExtractorError             the extractor file or its runtime is unusable
│   ├── DelegateError          an accelerator's library refused, or cannot be loaded
│   └── EngineError            the child process died, hung or answered nonsense
├── StoreError                 the disk or the database refused
│   ├── DiskFullError          no room; try again when there is
│   ├── DiskFailedError        an I/O error, or read-only: what is written now may be lost
│   └── DamagedError           bytes are there but not the ones that were written
├── MLModelError               Core ML's error, with Apple's code
│   └── ModelNotSavedError     the disk refused a model: a StoreError too
│       └── ModelDiskFullError no room for it: a DiskFullError too
└── MLCreateError              Create ML's error, with a code: data, parameters and training of a classifier
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path


class EdgeAgentError(Exception):
    """Base of everything this project raises on purpose."""


class UserError(EdgeAgentError):
    """Something a person can mend; the text says what, where and what to do."""


class ConfigError(UserError):
    """A configuration with problems; `problems` holds one line for each, with its path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class LabelError(UserError):
    """A label that cannot be used as a folder name."""


class HomeError(UserError):
    """The state directory cannot be used."""


class HomeLockedError(HomeError):
    """Another process works on this state directory."""


class PluginError(UserError):
    """A plugin that cannot be loaded or that gave an answer of the wrong kind."""


class NotFoundError(UserError):
    """A sample, a version or a file that is not there."""


class NoModelError(UserError):
    """No version has been published yet, so nothing can be predicted."""


class NotAnsweredError(EdgeAgentError):
    """No agent runs, or it stopped before it could answer; one that is started again can be asked again."""


class ImageError(EdgeAgentError):
    """A picture that was refused and will be refused again; the text is the reason shown to its owner."""

    permanent = True
    """Whether it will."""


class ImageMemoryError(ImageError):
    """A picture for which there was no memory just now."""

    permanent = False


class ExtractorError(EdgeAgentError):
    """The extractor's file or its runtime is unusable."""


class DelegateError(ExtractorError):
    """The library of an accelerator refused, or cannot be loaded; the text is its own, and may be empty."""


class EngineError(ExtractorError):
    """The engine process died, took too long or answered what was not asked."""


class StoreError(EdgeAgentError):
    """The disk or the database refused to keep something."""


class DiskFullError(StoreError):
    """There is no room left (space, inodes or quota); the same call may succeed later."""


class DiskFailedError(StoreError):
    """The disk reported an error or became read-only: nothing written from now on can be relied on.

    `path` is what it was met at; None where it was any file of the database.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path

    def is_below(self, folder: Path) -> bool:
        """Whether it is the disk of `folder` that failed, as far as can be told."""
        return self.path is None or self.path.is_relative_to(folder)


class DamagedError(StoreError):
    """Stored bytes are not the ones that were written."""


class MLModelErrorCode(IntEnum):
    """Apple's `MLModelError.Code`, with Apple's raw values."""

    GENERIC = 0
    FEATURE_TYPE = 1
    IO = 3
    CUSTOM_LAYER = 4
    CUSTOM_MODEL = 5
    UPDATE = 6
    PARAMETERS = 7
    MODEL_DECRYPTION_KEY_FETCH = 8
    MODEL_DECRYPTION = 9
    MODEL_COLLECTION = 10
    PREDICTION_CANCELLED = 11


MLModelErrorDomain = "com.apple.CoreML"
"""Apple's name for where its model errors come from."""


class MLModelError(EdgeAgentError):
    """Core ML's model error: `code` is Apple's, the text names the sample, the feature or the key."""

    Code = MLModelErrorCode
    domain = MLModelErrorDomain

    def __init__(self, code: MLModelErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ModelNotSavedError(MLModelError, StoreError):
    """A model that the disk refused: Core ML's error with the code IO, and a refusal of the disk."""

    def __init__(self, message: str) -> None:
        super().__init__(MLModelErrorCode.IO, message)


class ModelDiskFullError(ModelNotSavedError, DiskFullError):
    """A model for which there is no room left; saving it again may succeed later."""


class MLCreateErrorCode(IntEnum):
    """The cases of Apple's `MLCreateError`, in Apple's order; Apple gives them no raw values."""

    CANCELLED = 0
    INCOMPATIBLE_PARAMETERS = 1
    MODIFIED_TRAINING_DATA = 2
    IO = 3
    TYPE = 4
    GENERIC = 5


MLCreateErrorDomain = "com.apple.CreateML"
"""Apple's name for where the errors of Create ML come from."""


class MLCreateError(EdgeAgentError):
    """Create ML's error: `code` says which of Apple's cases, the text what is wrong, where and what to do."""

    Code = MLCreateErrorCode
    domain = MLCreateErrorDomain

    code: MLCreateErrorCode
    parameter: str | None
    """For INCOMPATIBLE_PARAMETERS: the one that is not as it was when the session began; None for other codes."""
    original_value: object
    new_value: object

    def __init__(
        self,
        code: MLCreateErrorCode,
        message: str,
        *,
        parameter: str | None = None,
        original_value: object = None,
        new_value: object = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.parameter = parameter
        self.original_value = original_value
        self.new_value = new_value

    @property
    def failure_reason(self) -> str:
        """The text."""
        return str(self)

    @property
    def error_description(self) -> str:
        """What kind of failure it is, in a few words that depend on the code alone."""
        return _CREATE_FAILURES[self.code]

    @property
    def error_user_info(self) -> dict[str, object]:
        """Texts and values by name: description, reason and, where a parameter is to blame, the three of it."""
        found: dict[str, object] = {
            "error_description": self.error_description,
            "failure_reason": self.failure_reason,
        }
        if self.parameter is not None:
            found |= {
                "parameter": self.parameter,
                "original_value": self.original_value,
                "new_value": self.new_value,
            }
        return found


_CREATE_FAILURES = {
    MLCreateErrorCode.CANCELLED: "the training was cancelled",
    MLCreateErrorCode.INCOMPATIBLE_PARAMETERS: "a parameter is not the one the session began with",
    MLCreateErrorCode.MODIFIED_TRAINING_DATA: "the pictures are not those the session began with",
    MLCreateErrorCode.IO: "a file or a folder cannot be used",
    MLCreateErrorCode.TYPE: "a value is not of the kind that is needed",
    MLCreateErrorCode.GENERIC: "the classifier could not be made",
}
