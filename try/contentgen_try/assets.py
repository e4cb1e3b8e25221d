"""Files in the wheel: CRDs, samples, the sample's video and the jars of the MongoDB server."""

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
