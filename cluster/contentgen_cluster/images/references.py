"""Inputs and content-based tags of our three images."""

from dataclasses import dataclass
from pathlib import Path

from contentgen_cluster.cache import content_key, files_of


@dataclass(frozen=True)
class ImageRecipe:
    """One of our images; `sources` are the paths that its Dockerfile copies, relative to the repository."""

    name: str
    dockerfile: str
    sources: tuple[str, ...]

    def repository(self, prefix: str) -> str:
        return f"{prefix.rstrip('/')}/contentgen-{self.name}"


_CONTRACT = "operator/contentgen_contract"
_OPERATOR = tuple(f"operator/contentgen_{name}" for name in ("runtime", "operator", "gateway"))
OPERATOR = ImageRecipe(
    "operator",
    "Dockerfile",
    (".dockerignore", "requirements/operator.txt", _CONTRACT, *_OPERATOR),
)
WORKER = ImageRecipe(
    "worker",
    "worker-image/Dockerfile",
    (".dockerignore", "requirements/worker.txt", _CONTRACT, "worker-image/contentgen_worker"),
)
SANDBOX = ImageRecipe(
    "sandbox",
    "sandbox/Dockerfile",
    (".dockerignore", "requirements/sandbox.txt", _CONTRACT, "sandbox/contentgen_sandbox"),
)
ALL = (OPERATOR, WORKER, SANDBOX)


def tag(image: ImageRecipe, repo: Path, *others: str) -> str:
    """Hash of the image's files and of its other inputs (base image, programs)."""
    paths = [repo / each for each in (image.dockerfile, *image.sources)]
    files = sorted({file for path in paths if path.exists() for file in files_of(path)})
    named = [text for file in files for text in (str(file.relative_to(repo)), content_key(file))]
    return content_key(*named, *others)
