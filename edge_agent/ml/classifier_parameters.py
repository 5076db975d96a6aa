"""This is where it is said how an image classifier is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.augmentation import AugmentationSettings, ImageAugmentationOptions
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.splitting import ValidationData

MAX_ITERATIONS = 25
NO_COPIES = ImageAugmentationOptions(0)


@dataclass(frozen=True)
class ClassifierType:
    """The part that learns: how, and with which parameters. Made by the class methods."""

    fit: str
    """The name of the way to train in `edge_agent.ml.fits`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def logistic_regressor(cls, *, l2: float | None = None) -> ClassifierType:
        """Multinomial logistic regression; `l2` is the strength of its penalty, None for the default."""
        if l2 is not None and (isinstance(l2, bool) or not isinstance(l2, Real)):
            raise _wrong(f"l2 is a number, not {l2!r}")
        return cls("logistic", {} if l2 is None else {"l2": float(l2)})

    @classmethod
    def multilayer_perceptron(cls, layer_sizes: Sequence[int]) -> ClassifierType:
        """Fully connected layers of these sizes, and one more with softmax for the labels.

        Raises `MLCreateError` TYPE for sizes that are not whole numbers above 0.
        """
        listed = isinstance(layer_sizes, Sequence) and not isinstance(layer_sizes, str | bytes)
        if not listed or not layer_sizes or not all(_is_size(size) for size in layer_sizes):
            raise _wrong(f"layer_sizes are whole numbers above 0, not {layer_sizes!r}")
        return cls("perceptron", {"hidden_layer_sizes": [int(size) for size in layer_sizes]})

    @classmethod
    def discriminant(cls) -> ClassifierType:
        """Linear discriminant analysis with shrinkage: exact, in one iteration."""
        return cls("lda")

    @classmethod
    def automatic(cls) -> ClassifierType:
        """The agent's own head: discriminant analysis and ridge regression mixed; exact, in one iteration."""
        return cls("auto")

    def __str__(self) -> str:
        shown = ", ".join(f"{name} = {value}" for name, value in self.parameters.items())
        return f"{self.fit} ({shown})" if shown else self.fit


@dataclass(frozen=True)
class ModelAlgorithmType:
    """Transfer learning, the one algorithm there is: a frozen extractor and a classifier that learns."""

    feature_extractor: FeatureExtractorType
    classifier: ClassifierType

    def __post_init__(self) -> None:
        """Raise `MLCreateError` TYPE for a part that is another kind of value."""
        for name, kind in (("feature_extractor", FeatureExtractorType), ("classifier", ClassifierType)):
            if not isinstance(getattr(self, name), kind):
                raise _wrong(f"{name} is a {kind.__name__}, not {getattr(self, name)!r}")

    @classmethod
    def transfer_learning(
        cls,
        feature_extractor: FeatureExtractorType | None = None,
        classifier: ClassifierType | None = None,
    ) -> ModelAlgorithmType:
        """Unless told otherwise, the newest built-in extractor and logistic regression."""
        return cls(
            feature_extractor or FeatureExtractorType.built_in(),
            classifier or ClassifierType.logistic_regressor(),
        )

    def __str__(self) -> str:
        return f"transfer learning from {self.feature_extractor}, classifier {self.classifier}"


@dataclass(frozen=True)
class ModelParameters:
    """How an image classifier is trained. The same parameters, data and seed give the same classifier.

    Raises `MLCreateError` TYPE, naming the parameter, for a value of another kind.
    """

    validation: ValidationData = field(default_factory=ValidationData.automatic)
    max_iterations: int = MAX_ITERATIONS
    """An upper bound; training ends earlier where it has converged."""
    augmentation: ImageAugmentationOptions = NO_COPIES
    """The kinds of copies that are made of every training picture."""
    algorithm: ModelAlgorithmType = field(default_factory=ModelAlgorithmType.transfer_learning)
    augmentation_settings: AugmentationSettings = field(default_factory=AugmentationSettings)
    seed: int = 0
    """For everything random in training."""

    def __post_init__(self) -> None:
        kinds = {
            "validation": ValidationData,
            "algorithm": ModelAlgorithmType,
            "augmentation_settings": AugmentationSettings,
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise _wrong(f"{name} is a {kind.__name__}, not {getattr(self, name)!r}")
        if not _is_size(self.max_iterations):
            raise _wrong(f"max_iterations is a whole number above 0, not {self.max_iterations!r}")
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or self.seed < 0:
            raise _wrong(f"seed is a whole number, 0 or above, not {self.seed!r}")
        if not isinstance(self.augmentation, Integral):
            raise _wrong(f"augmentation is a set of ImageAugmentationOptions, not {self.augmentation!r}")
        object.__setattr__(self, "augmentation", ImageAugmentationOptions(self.augmentation))

    @property
    def augmentation_options(self) -> ImageAugmentationOptions:
        """Apple's name for `augmentation`."""
        return self.augmentation

    def to_json(self) -> dict[str, Any]:
        """Plain values by name, to be kept and compared."""
        extractor, classifier = self.algorithm.feature_extractor, self.algorithm.classifier
        return {
            "validation": self.validation.to_json(),
            "max_iterations": int(self.max_iterations),
            "augmentation": int(self.augmentation),
            "augmentation_settings": self.augmentation_settings.to_json(),
            "feature_extractor": extractor.to_json(),
            "classifier": {"fit": classifier.fit, "parameters": dict(classifier.parameters)},
            "seed": int(self.seed),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelParameters:
        """The parameters these came from; raises `MLCreateError`, KeyError or TypeError for what is none."""
        classifier = ClassifierType(values["classifier"]["fit"], dict(values["classifier"]["parameters"]))
        return cls(
            validation=ValidationData.from_json(values["validation"]),
            max_iterations=values["max_iterations"],
            augmentation=ImageAugmentationOptions(values["augmentation"]),
            algorithm=ModelAlgorithmType(
                FeatureExtractorType.from_json(values["feature_extractor"]), classifier
            ),
            augmentation_settings=AugmentationSettings.from_json(values["augmentation_settings"]),
            seed=values["seed"],
        )

    def __str__(self) -> str:
        lines = {
            "Validation": self.validation,
            "Max iterations": self.max_iterations,
            "Augmentation": self.augmentation,
            "Algorithm": self.algorithm,
            "Seed": self.seed,
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _is_size(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def _wrong(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.TYPE, message)
