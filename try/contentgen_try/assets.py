"""Files in the wheel, and their version: CRDs, samples, the sample's video and the jars of the MongoDB server."""

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent / "data"
"""Made by `make wheel`, and by `make try` in a checkout; not in the repository."""
CRDS, SAMPLES, JARS, VIDEO = DATA / "crds", DATA / "samples", DATA / "mongo", DATA / "talk.mp4"


class MissingFiles(Exception):
    """The installation has no such files; the message says what to do."""


def check() -> None:
    """Raises MissingFiles."""
    for path in (CRDS, SAMPLES, JARS, VIDEO):
        if not path.exists():
            raise MissingFiles(
                f"{path} is missing: install the wheel (make wheel), or run `make try` in a checkout of the repository"
            )


def samples() -> tuple[Path, ...]:
    """Manifests of the three samples, the LoRA first, which the pictures wait for."""
    return tuple(SAMPLES / f"{name}.yaml" for name in ("loratraining", "imagegeneration", "transcription"))


def version() -> str:
    """Hash of the code and the CRDs, which also changes between two releases, for example in a checkout."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in ("contract", "runtime", "operator", "gateway", "worker", "sandbox", "try"):
        found = importlib.util.find_spec(f"contentgen_{name}")
        for place in found.submodule_search_locations or () if found is not None else ():
            yield from sorted(Path(place).rglob("*.py"))
    yield from sorted(CRDS.glob("*.yaml"))
    yield VIDEO
