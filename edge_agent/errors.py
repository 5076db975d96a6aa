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
│   └── EngineError            the child process died, hung or answered nonsense
├── StoreError                 the disk or the database refused
│   ├── DiskFullError          no room; try again when there is
│   └── DamagedError           bytes are there but not the ones that were written
└── MLModelError               Core ML's error, with Apple's code
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


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


class ImageError(EdgeAgentError):
    """A picture that was refused and will be refused again; the text is the reason shown to its owner."""


class ExtractorError(EdgeAgentError):
    """The extractor's file or its runtime is unusable."""


class EngineError(ExtractorError):
    """The engine process died, took too long or answered what was not asked."""


class StoreError(EdgeAgentError):
    """The disk or the database refused to keep something."""


class DiskFullError(StoreError):
    """There is no room left (space, inodes or quota); the same call may succeed later."""


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
