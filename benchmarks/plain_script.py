"""This is where the script is that one would write instead: look at every picture, fit, keep the result, each time.

python benchmarks/plain_script.py FOLDER OUT.npz     FOLDER/<label>/*.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

MODEL = Path(__file__).parents[1] / "edge_agent" / "extractors" / "efficientnet_lite0_int8.tflite"

interpreter = Interpreter(str(MODEL), num_threads=1)
interpreter.allocate_tensors()
given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
scale, zero = given["quantization"]

rows, labels = [], []
for path in sorted(Path(sys.argv[1]).glob("*/*.jpg")):
    pixels = np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    steps = np.rint((pixels - 127.0) / 128.0 / scale) + zero
    kind = np.iinfo(given["dtype"])
    interpreter.set_tensor(given["index"], np.clip(steps, kind.min, kind.max).astype(given["dtype"])[None])
    interpreter.invoke()
    rows.append(interpreter.get_tensor(wanted["index"]).reshape(-1).astype(np.float32))
    labels.append(path.parent.name)

X = np.stack(rows)
X /= np.linalg.norm(X, axis=1, keepdims=True)
model = LogisticRegression(C=100.0, max_iter=1000).fit(X, labels)
np.savez(sys.argv[2], W=model.coef_, b=model.intercept_, labels=model.classes_)
print(len(labels), "pictures")
