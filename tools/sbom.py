"""This is where it is written down what an installed agent consists of, so that others can look for known faults.

    scripts/sbom [PLATFORM]

The document is a CycloneDX 1.5 bill of materials: edge-agent itself, the models it ships, and every package of one
lock file of `deploy/locks`, with the hash of the very file that is installed. Licences are those that the packages
installed here declare. The same inputs give the same document, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

import edge_agent

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "deploy" / "locks"
MODELS = Path(edge_agent.__file__).parent / "extractors"

_LINE = re.compile(r"([A-Za-z0-9._-]+)==([^ ;]+)((?: +(?:\\\n *)?--hash=sha256:[0-9a-f]{64})+)")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_NO_MATTER = {"", "UNKNOWN", "Dual License"}


def bill(lock: str, name: str) -> dict[str, Any]:
    """The document for the text of one lock file, whose name stands for a platform."""
    own = f"pkg:pypi/edge-agent@{edge_agent.__version__}"
    parts = [_package(*found.groups()) for found in _LINE.finditer(lock)]
    if len(parts) != sum(1 for line in lock.splitlines() if "==" in line and not line.startswith("#")):
        raise SystemExit(f"sbom: {name}: a line of the lock file could not be read")
    parts += [_model(path) for path in sorted(MODELS.glob("*.tflite"))]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "edge-agent",
                "version": edge_agent.__version__,
                "purl": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "properties": [{"name": "edge-agent:platform", "value": name}],
        },
        "components": parts,
        "dependencies": [{"ref": own, "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    text = json.dumps(document, sort_keys=True)
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"}


def _package(name: str, version: str, hashes: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    part: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    part["hashes"] = [{"alg": "SHA-256", "content": found} for found in _HASH.findall(hashes)]
    licence = _licence(name)
    return {**part, "licenses": [{"license": {"name": licence}}]} if licence else part


def _licence(name: str) -> str:
    """What the package says of its licence, in a line; empty where it is not installed here, or says nothing."""
    try:
        said = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classified = [
        line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License")
    ]
    texts = [str(said.get("License-Expression", "")), " AND ".join(classified), str(said.get("License", ""))]
    # Some packages put the whole text of the licence where its name belongs.
    return next(
        (text for text in texts if text not in _NO_MATTER and "\n" not in text and len(text) < 120), ""
    )


def _model(path: Path) -> dict[str, Any]:
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{path.stem}@{digest[:16]}",
        "name": path.stem,
        "version": digest[:16],
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"name": card["licence"]}}],
    }


def main() -> int:
    """Run from a command line."""
    here = f"{platform.machine()}-py{sys.version_info[0]}.{sys.version_info[1]}"
    name = sys.argv[1] if len(sys.argv) > 1 else here
    path = LOCKS / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in LOCKS.glob("*-py*.txt")))
        print(f"sbom: {name}: there is no such lock file; known are {known}", file=sys.stderr)
        return 2
    print(json.dumps(bill(path.read_text(encoding="utf-8"), name), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
