"""Our three images: what goes into each, and so what they are called. Nothing is built here."""

from dataclasses import dataclass
from pathlib import Path

from contentgen_cluster.cache import content_key, files_of


@dataclass(frozen=True)
class Image:
    """An image of ours; `sources` are what its Dockerfile copies, relative to the repository."""

    name: str
    dockerfile: str
    sources: tuple[str, ...]

    def repository(self, prefix: str) -> str:
        return f"{prefix.rstrip('/')}/contentgen-{self.name}"


_PROJECT = ("pyproject.toml", "README.md", ".dockerignore")
OPERATOR = Image("operator", "Dockerfile", (*_PROJECT, "requirements/operator.txt", "operator"))
WORKER = Image(
    "worker",
    "worker-image/Dockerfile",
    (*_PROJECT, "requirements/worker.txt", "worker-image", "operator/contentgen_contract"),
)
SANDBOX = Image(
    "sandbox",
    "sandbox/Dockerfile",
    (*_PROJECT, "requirements/sandbox.txt", "sandbox", "operator/contentgen_contract"),
)
ALL = (OPERATOR, WORKER, SANDBOX)


def tag(image: Image, repo: Path, *others: str) -> str:
    """Hash of the image's files, by content, and of other inputs (its base, programs it is given)."""
    paths = [repo / each for each in (image.dockerfile, *image.sources)]
    files = sorted({file for path in paths if path.exists() for file in files_of(path)})
    named = [text for file in files for text in (str(file.relative_to(repo)), content_key(file))]
    return content_key(*named, *others)
