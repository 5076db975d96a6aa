"""This is where a small classifier is built that trains itself inside a TFLite runtime.

Building needs the packages of `requirements-trainable.txt`:

    python tools/build_trainable_classifier.py --output tests/vision/data/trainable_classifier.tflite

The network is 64 features -> 24 tanh -> 10 classes (softmax), for batches of any size. Its signatures:

    train(x [n, 64], y [n, 10], learning_rate [])   one step of gradient descent; loss [] before the step
    infer(x [n, 64])                                probabilities [n, 10]
    get_weights()                                   w1 [64, 24], b1 [24], w2 [24, 10], b2 [10]
    set_weights(w1, b1, w2, b2)                     the same, after they were set

The gradients are written by hand. TensorFlow's own come out as operators of full TensorFlow ("Flex"), which
the runtimes that are installed on devices do not have; every operator of this file is built in. The loss is
the cross-entropy, averaged over rows by the sums of the rows of `y`: a row of zeros counts for nothing.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

N_FEATURES = 64
N_HIDDEN = 24
N_CLASSES = 10
SEED = 0


class Classifier(tf.Module):
    """One hidden layer, trained by its own gradients."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(SEED)

        def drawn(rows: int, columns: int) -> np.ndarray:
            # Glorot and Bengio, 2010: the spread at which tanh layers begin to learn at once.
            bound = np.sqrt(6.0 / (rows + columns))
            return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)

        self.w1 = tf.Variable(drawn(N_FEATURES, N_HIDDEN), name="w1")
        self.b1 = tf.Variable(tf.zeros(N_HIDDEN), name="b1")
        self.w2 = tf.Variable(drawn(N_HIDDEN, N_CLASSES), name="w2")
        self.b2 = tf.Variable(tf.zeros(N_CLASSES), name="b2")

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The hidden layer's answers and the logits."""
        hidden = tf.tanh(tf.matmul(x, self.w1) + self.b1)
        return hidden, tf.matmul(hidden, self.w2) + self.b2

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, N_FEATURES], tf.float32, name="x"),
            tf.TensorSpec([None, N_CLASSES], tf.float32, name="y"),
            tf.TensorSpec([], tf.float32, name="learning_rate"),
        ]
    )
    def train(self, x: tf.Tensor, y: tf.Tensor, learning_rate: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step against the gradients of the mean cross-entropy."""
        hidden, logits = self.forward(x)
        count = tf.reduce_sum(y)
        loss = -tf.reduce_sum(y * tf.nn.log_softmax(logits)) / count
        rows = tf.reduce_sum(y, axis=1, keepdims=True)
        error = (tf.nn.softmax(logits) * rows - y) / count
        below = tf.matmul(error, self.w2, transpose_b=True) * (1.0 - hidden * hidden)
        # All gradients are ready before the first weight changes.
        dw2, db2 = tf.matmul(hidden, error, transpose_a=True), tf.reduce_sum(error, axis=0)
        dw1, db1 = tf.matmul(x, below, transpose_a=True), tf.reduce_sum(below, axis=0)
        for variable, gradient in ((self.w1, dw1), (self.b1, db1), (self.w2, dw2), (self.b2, db2)):
            variable.assign(variable - learning_rate * gradient)
        return {"loss": loss}

    @tf.function(input_signature=[tf.TensorSpec([None, N_FEATURES], tf.float32, name="x")])
    def infer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities of the classes."""
        return {"probabilities": tf.nn.softmax(self.forward(x)[1])}

    @tf.function(input_signature=[])
    def get_weights(self) -> dict[str, tf.Tensor]:
        """All that is learned."""
        return {name: getattr(self, name).read_value() for name in ("w1", "b1", "w2", "b2")}

    @tf.function(
        input_signature=[
            tf.TensorSpec([N_FEATURES, N_HIDDEN], tf.float32, name="w1"),
            tf.TensorSpec([N_HIDDEN], tf.float32, name="b1"),
            tf.TensorSpec([N_HIDDEN, N_CLASSES], tf.float32, name="w2"),
            tf.TensorSpec([N_CLASSES], tf.float32, name="b2"),
        ]
    )
    def set_weights(self, w1: tf.Tensor, b1: tf.Tensor, w2: tf.Tensor, b2: tf.Tensor) -> dict[str, tf.Tensor]:
        """Replace all that is learned."""
        for variable, value in ((self.w1, w1), (self.b1, b1), (self.w2, w2), (self.b2, b2)):
            variable.assign(value)
        return {name: getattr(self, name).read_value() for name in ("w1", "b1", "w2", "b2")}


def build() -> bytes:
    """The file's bytes, without a single operator that is not built in."""
    model = Classifier()
    names = ("train", "infer", "get_weights", "set_weights")
    functions = [getattr(model, name).get_concrete_function() for name in names]
    signatures = dict(zip(names, functions, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(names))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        return bytes(converter.convert())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the .tflite to write")
    args = parser.parse_args()
    args.output.write_bytes(build())
