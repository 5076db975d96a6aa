"""This is where a process of its own has the GPU look at a picture, and prints the features."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_agent_gpu.compiled import CompiledExtractor

from edge_agent.config import PicturesConfig
from edge_agent.vision import images
from edge_agent.vision.preprocessing import load_card

if __name__ == "__main__":
    card = load_card(Path(sys.argv[1]))
    pixels = images.decode(Path(sys.argv[2]).read_bytes(), limits=PicturesConfig(), target=card.size).pixels
    print()
    print(json.dumps(CompiledExtractor(card).extract(pixels).tolist()))
