"""List of the documents and their parts."""

from functools import cache
from pathlib import Path

from contentgen_documents import extract
from contentgen_documents.extract import Command, DocumentedManifest, Figure, Part

ROOT = Path(__file__).resolve().parents[3]
_MARKDOWN = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "charts/contentgen/README.md", "tests/cluster/README.md")
_SAMPLES = ("samples/*.yaml", "examples/policies/*.yaml")  # examples/values is for helm


@cache
def parts() -> tuple[Part, ...]:
    """Parts of every document, the README first, then by name."""
    pages = [path for pattern in _MARKDOWN for path in sorted(ROOT.glob(pattern))]
    found = [part for path in pages for part in extract.markdown(_name(path), path.read_text())]
    samples = [path for pattern in _SAMPLES for path in sorted(ROOT.glob(pattern))]
    found += [part for path in samples for part in extract.sample(_name(path), path.read_text())]
    return tuple(found)


def commands() -> tuple[Command, ...]:
    return tuple(part for part in parts() if isinstance(part, Command))


def manifests() -> tuple[DocumentedManifest, ...]:
    return tuple(part for part in parts() if isinstance(part, DocumentedManifest))


def figures() -> tuple[Figure, ...]:
    return tuple(part for part in parts() if isinstance(part, Figure))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
