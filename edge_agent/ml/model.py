"""This is where a head becomes a model: described, predicting, written to disk and read back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self, cast

import msgspec

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import FEATURES, LABEL, MLBatchProvider
from edge_agent.ml.configuration import MLComputeUnits, MLModelConfiguration, usable_configuration
from edge_agent.ml.described import Described
from edge_agent.ml.description import MLFeatureDescription, MLModelDescription, MLModelMetadata
from edge_agent.ml.extraction import ExtractedBatchProvider
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.front import Front
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS, file_reader, head_named
from edge_agent.ml.heads.protocol import (
    Head,
    TunableHead,
    split_layer_values,
    with_layer_values,
)
from edge_agent.ml.kinds import every_head, heads_for
from edge_agent.ml.labels import LABEL_TYPE_NAMES, agreed_label_type, label_type_named, label_type_of
from edge_agent.ml.package import (
    FORMAT,
    UNFIT,
    ModelPackage,
    damaged,
    package_path,
    read_package,
    write_package,
)
from edge_agent.ml.parameters import (
    MLParameterDescription,
    MLParameterKey,
    description_from_json,
    description_to_json,
    resolve,
)
from edge_agent.ml.predicting import Completion, MLRequest
from edge_agent.ml.raw import raw_model
from edge_agent.ml.storing import opened_front, stored_front
from edge_agent.store.atomic import remove_tree

__all__ = [
    "BUILT_IN_HEADS",
    "FORMAT",
    "MLComputeUnits",
    "MLFeatureDescription",
    "MLModel",
    "MLModelConfiguration",
    "MLModelDescription",
    "MLModelMetadata",
]


MOST_FEATURES = 1_000_000
"""Far above any extractor; more is a mistake, and would ask for more memory than there is."""


class MLModel(Described):
    """A head with its description: features in, label and probabilities out.

    `MLModel.factory` makes an empty one, `MLModel.load` reads one from disk, an update task gives a better
    one. Only factory models and results of finished updates can be written. A model is never changed after it
    was made.
    """

    def __init__(
        self,
        head: Head,
        *,
        extractor_fingerprint: str = "",
        metadata: MLModelMetadata | None = None,
        parameters: Mapping[MLParameterKey, object] | None = None,
        configuration: MLModelConfiguration | None = None,
        is_writable: bool = False,
        parameter_descriptions: Sequence[MLParameterDescription] | None = None,
        input_name: str = FEATURES,
        output_name: str = LABEL,
        not_updatable_because: str = "",
        label_type: MLFeatureType | None = None,
        front: Front | None = None,
    ) -> None:
        self.front = front
        if front is not None and front.n_features != head.n_features:
            raise MLModelError(
                MLModelErrorCode.GENERIC,
                f"the stage {front.last!r} takes {head.n_features} features,"
                f" the stage {front.names[-2]!r} gives {front.n_features}",
            )
        self.extractor_fingerprint = extractor_fingerprint if front is None else front.fingerprint
        self.metadata = metadata or MLModelMetadata()
        self._configuration = (configuration or MLModelConfiguration()).copy()
        self.is_writable = is_writable
        self.input_name = input_name if front is None else front.input.name
        self.output_name = output_name
        self.not_updatable_because = not_updatable_because
        self._allowed = None if parameter_descriptions is None else tuple(parameter_descriptions)
        allowed = head.parameter_descriptions if self._allowed is None else self._allowed
        values, given = split_layer_values(self.unscoped(self._configuration.parameters))
        own = resolve(allowed, parameters)
        self.parameters = resolve(allowed, {**own, **given})
        head = with_layer_values(head, values)
        if isinstance(head, TunableHead):
            tuning = {key: self.parameters[key] for key in head.tuning if key in self.parameters}
            head = cast("Head", head.tuned(tuning))
        self.head = head
        first = next(iter(head.classes_), self.default_label)
        self.label_type = (
            agreed_label_type(label_type, label_type_of(first))
            if self.n_values is None
            else MLFeatureType.DOUBLE
        )

    @property
    def configuration(self) -> MLModelConfiguration:
        """A copy of what the model was loaded with."""
        return self._configuration.copy()

    @classmethod
    def factory(
        cls,
        head: str | type[Head],
        n_features: int,
        *,
        extractor_fingerprint: str = "",
        metadata: MLModelMetadata | None = None,
        parameters: Mapping[MLParameterKey, object] | None = None,
        heads: Mapping[str, type[Head]] | None = None,
        label_type: MLFeatureType | None = None,
    ) -> Self:
        """An empty, updatable and writable model around a registered head or a head class.

        `label_type` STRING or INT64 says what labels it takes; None leaves that to the first update.

        Raises `MLModelError`: CUSTOM_MODEL for an unknown head, PARAMETERS for a bad parameter, GENERIC
        for a number of features that no model has.
        """
        whole = isinstance(n_features, int) and not isinstance(n_features, bool)
        if not whole or not 1 <= n_features <= MOST_FEATURES:
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"a model has 1 to {MOST_FEATURES} features, not {n_features!r}"
            )
        head_class = head_named(head, heads) if isinstance(head, str) else head
        return cls(
            head_class(n_features),
            extractor_fingerprint=extractor_fingerprint,
            metadata=metadata,
            parameters=parameters,
            is_writable=True,
            label_type=label_type,
        )

    def learnable(self, batch: MLBatchProvider) -> MLBatchProvider:
        """A batch of what this model takes, as its head learns it: behind the front of a pipeline."""
        if self.front is None:
            return batch
        return ExtractedBatchProvider(
            batch, self.front, label_name=self.output_name, label_type=self.label_type
        )

    def with_head(self, head: Head, *, is_writable: bool, label_type: MLFeatureType | None = None) -> MLModel:
        """This model around another head, with what that head's answers depend on.

        `label_type` is for a model that has none yet.
        """
        tuning = head.tuning if isinstance(head, TunableHead) else {}
        return MLModel(
            head,
            extractor_fingerprint=self.extractor_fingerprint,
            metadata=self.metadata,
            parameters={key: tuning.get(key, value) for key, value in self.parameters.items()},
            is_writable=is_writable,
            parameter_descriptions=self._allowed,
            input_name=self.input_name,
            output_name=self.output_name,
            not_updatable_because=self.not_updatable_because,
            label_type=self.label_type or label_type,
            front=self.front,
        )

    @classmethod
    def compile_model(cls, at: Path | str) -> Path:
        """A package made of a model as it comes: a `.tflite` that trains itself, or an extractor with its card.

        It lies in a folder of its own among the temporary files: move it to where it is to stay. The source
        is not changed. Raises `MLModelError`: IO for what is not there or cannot be read, GENERIC for what is
        compiled already, and whatever is wrong with the file.
        """
        source = package_path(at)
        raw = raw_model(source)
        model = cls(
            raw.head,
            front=raw.front,
            output_name=raw.output_name,
            not_updatable_because=raw.not_updatable_because,
            is_writable=True,
        )
        folder = Path(tempfile.mkdtemp(prefix="edge-agent-"))
        try:
            model.write(folder / source.stem)
        except BaseException:
            remove_tree(folder)
            raise
        return folder / source.stem

    def write(self, to: Path | str) -> None:
        """Save as the directory `to`, which holds `model.json`, `head.npz` and the files of frozen stages,
        whole or not at all.

        Raises `MLModelError` UPDATE for a model that cannot be written, IO for what is no path and, with the
        path, when the disk refuses: `ModelNotSavedError`, `ModelDiskFullError` where there is no room.
        """
        folder = package_path(to)
        if not self.is_writable:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                "only new models and models of an update can be written; this one was loaded, or its update ended"
                " without a result",
            )
        front, files = stored_front(self.front)
        package = ModelPackage(
            head=self.head.name,
            labels=self.classes,
            n_features=self.n_features,
            extractor_fingerprint=self.extractor_fingerprint,
            parameters={str(key): value for key, value in self.parameters.items()},
            metadata=asdict(self.metadata),
            learned=self.head.describe(),
            input_name=self.input_name,
            output_name=self.output_name,
            not_updatable_because=self.not_updatable_because,
            label_type=LABEL_TYPE_NAMES[self.label_type],
            parameter_descriptions=(
                None if self._allowed is None else [description_to_json(one) for one in self._allowed]
            ),
            front=front,
        )
        write_package(folder, package, self.head.arrays(), files)

    @classmethod
    def load(
        cls,
        path: Path | str,
        configuration: MLModelConfiguration | None = None,
        heads: Mapping[str, type[Head]] | None = None,
    ) -> Self:
        """Read a written model. It predicts exactly as the one that was written; it cannot itself be written.

        A file, such as a `.tflite` that trains itself, is read by the head that knows its kind.

        Raises `MLModelError` with the path: IO when it is missing, damaged or of another format version or a
        model it links to is not there, CUSTOM_MODEL for a head that is not in `heads` (default: all that need
        no plugin), PARAMETERS for a bad configuration.
        """
        configuration = usable_configuration(configuration)
        folder = package_path(path)
        if folder.is_file() and heads is None:
            heads = every_head()
        from_file = file_reader(folder, heads)
        if from_file is not None:
            return cls(from_file(folder), configuration=configuration)
        package, arrays = read_package(folder)
        try:
            head = head_named(package.head, heads_for(package.head, heads)).restore(arrays, package.learned)
            metadata = msgspec.convert(package.metadata, MLModelMetadata)
            allowed = package.parameter_descriptions
            descriptions = None if allowed is None else [description_from_json(one) for one in allowed]
        except MLModelError as error:
            raise MLModelError(error.code, f"{folder}: {error}") from error
        except UNFIT as error:
            raise damaged(folder, f"what was learned cannot be restored: {error!r}") from error
        if tuple(head.classes_) != package.labels or head.n_features != package.n_features:
            raise damaged(folder, "labels or features are not those that were learned")
        front = opened_front(package.front, folder, configuration.parameters)
        if front is not None and front.n_features != head.n_features:
            raise damaged(folder, f"{head.n_features} features learned, {front.n_features} given")
        return cls(
            head,
            extractor_fingerprint=package.extractor_fingerprint,
            metadata=metadata,
            parameters={MLParameterKey(name): value for name, value in package.parameters.items()},
            configuration=configuration,
            parameter_descriptions=descriptions,
            input_name=package.input_name,
            output_name=package.output_name,
            not_updatable_because=package.not_updatable_because,
            label_type=label_type_named(package.label_type),
            front=front,
        )

    @classmethod
    def load_in_background(
        cls,
        path: Path | str,
        configuration: MLModelConfiguration | None = None,
        *,
        heads: Mapping[str, type[Head]] | None = None,
        completion_handler: Completion[Self] | None = None,
    ) -> MLRequest[Self]:
        """As `load`, on a thread of its own: returns at once; the model, or what is raised, is its `result()`."""
        configuration = usable_configuration(configuration)
        return MLRequest(
            lambda: cls.load(path, configuration, heads),
            completion_handler=completion_handler,
            name="load",
        )
