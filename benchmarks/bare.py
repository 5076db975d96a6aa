"""This is where pictures are decoded and looked at with nothing around it: the limit that nothing can be faster than.

    python -m benchmarks.bare HOW FOLDER PART PARTS     one of several processes; a line on stdin starts a turn

`draft`: the JPEG decoder scales down while it decodes, as the agent has it; `full`: every pixel is decoded.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "edge_agent" / "extractors" / "efficientnet_lite0_int8.tflite"
SIDE = 224
SIGN = np.uint8(0x80)
"""The embedded model takes a pixel less 128, which for bytes is one bit turned over."""


class Bare:
    """One interpreter with one thread, and the decoder."""

    def __init__(self, how: str, model: bytes | None = None) -> None:
        self.draft = how == "draft"
        self._native = Interpreter(model_content=model or MODEL.read_bytes(), num_threads=1)
        self._native.allocate_tensors()
        given = self._native.get_input_details()[0]
        self._given = given["index"]
        self.quantisation = given["quantization"]
        """Scale and zero point of what goes in."""
        self._wanted = self._native.get_output_details()[0]["index"]

    def pixels(self, data: bytes) -> np.ndarray:
        """A JPEG as uint8 [224, 224, 3]."""
        with Image.open(io.BytesIO(data)) as image:
            if self.draft:
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
            return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    def look(self, path: Path) -> np.ndarray:
        """Features float32 [1280] of a JPEG file."""
        return self.run((self.pixels(path.read_bytes()) ^ SIGN).view(np.int8))

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Features float32 [1280] of what the network takes, [224, 224, 3]."""
        self._native.set_tensor(self._given, tensor[None])
        self._native.invoke()
        return self._native.get_tensor(self._wanted).reshape(-1)


class Crew:
    """As many processes as there are cores, each with its part of a folder's pictures: the roofline."""

    def __init__(self, folder: Path, processes: int, how: str = "draft") -> None:
        self._processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.bare",
                    how,
                    str(folder.absolute()),
                    str(part),
                    str(processes),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                text=True,
            )
            for part in range(processes)
        ]
        self.pictures = sum(int(line) for line in self._heard())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.communicate()

    def _heard(self) -> list[str]:
        lines = [process.stdout.readline() for process in self._processes if process.stdout]
        if not all(lines):
            raise RuntimeError("a process that only decodes and looks has ended")
        return lines

    def turn(self) -> float:
        """Pictures a second of all together, from the common start to the end of the last."""
        begin = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        self._heard()
        return self.pictures / (time.perf_counter() - begin)


def main() -> None:
    """Say how many pictures there are, and after every line on stdin look at them all."""
    how, folder, part, parts = sys.argv[1:]
    paths = sorted(Path(folder).rglob("*.jpg"))[int(part) :: int(parts)]
    bare = Bare(how)
    if paths:
        bare.look(paths[0])
    print(len(paths), flush=True)
    for _ in sys.stdin:
        for path in paths:
            bare.look(path)
        print("done", flush=True)


if __name__ == "__main__":
    main()
