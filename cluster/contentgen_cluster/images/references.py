"""Recipes of our images, and their content-based tags.

A recipe has the files; the image's Dockerfile has its configuration (`dockerfile.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from contentgen_cluster.cache import content_key, files_of
from contentgen_cluster.paths import REPO

ASSEMBLY = tuple(
    f"cluster/contentgen_cluster/images/{name}.py"
    for name in ("debian", "dockerfile", "elf", "layers", "pack", "references", "rootfs")
)
"""Modules that decide what an image's files are."""
BASE_LOCK = "requirements/base.lock"
LICENCES = ("LICENSE", "THIRD-PARTY-NOTICES.txt")
"""Texts that every image has in /usr/share/doc/contentgen."""


@dataclass(frozen=True)
class ImageRecipe:
    """One of our images; all modules come to /opt/contentgen.

    Paths are relative to the repository.
    """

    name: str
    dockerfile: str
    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Programs of /usr/local/bin: the module whose `main` each calls."""
    built: Mapping[str, str] = field(default_factory=dict)
    """Other files: their place in the image by that in the repository, where another step of the build puts them."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Likewise, but compiled: another architecture's are named FILE-ARCHITECTURE."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Folders of data files: their place in /opt/contentgen by that in the repository."""
    writable: tuple[str, ...] = ()
    """Folders that the image's user may write to."""

    @property
    def title(self) -> str:
        return f"contentgen-{self.name}"

    @property
    def sources(self) -> tuple[str, ...]:
        """Paths that the Dockerfile copies, except for `built` and `programs`."""
        return (
            *LICENCES,
            BASE_LOCK,
            "requirements/uv.txt",
            *self.requirements,
            *self.packages,
            *self.data,
            "cluster/contentgen_cluster",
        )

    def files(self, repo: Path = REPO) -> tuple[list[Path], list[Path]]:
        """Locks of requirements, and folders of packages."""
        return [repo / requirement for requirement in self.requirements], [repo / package for package in self.packages]

    def repository(self, prefix: str) -> str:
        return f"{prefix.rstrip('/')}/{self.title}"


_CONTRACT = "operator/contentgen_contract"
OPERATOR = ImageRecipe(
    "operator",
    "Dockerfile",
    ("requirements/operator.txt",),
    (_CONTRACT, *(f"operator/contentgen_{name}" for name in ("runtime", "operator", "gateway"))),
    # For `kubectl exec`: contentgen backup, restore, import.
    scripts={"contentgen": "contentgen_gateway.migration.commands"},
)
WORKER = ImageRecipe(
    "worker",
    "worker-image/Dockerfile",
    ("requirements/worker.txt",),
    (_CONTRACT, "worker-image/contentgen_worker"),
    scripts={"contentgen-worker": "contentgen_worker.__main__"},
)
VISION = replace(
    WORKER,
    name="worker-vision",
    dockerfile="worker-image/Dockerfile.vision",
    requirements=(*WORKER.requirements, "requirements/vision.txt"),
)
"""The worker's image with a model that the user gives; the cluster of the tests has none."""
SANDBOX = ImageRecipe(
    "sandbox",
    "sandbox/Dockerfile",
    ("requirements/sandbox.txt",),
    ("sandbox/contentgen_sandbox",),
    scripts={"contentgen-sandbox": "contentgen_sandbox.__main__"},
    built={"build/sandbox/mongo": "opt/sandbox/mongo"},
    programs={"build/sandbox/versitygw": "opt/sandbox/versitygw"},
    data={f"facts/{name}": f"contentgen_sandbox/facts/data/{name}" for name in ("assemblyai", "fal")},
    writable=("data",),
)
ALL = (OPERATOR, WORKER, SANDBOX)


def with_model(model: Path) -> ImageRecipe:
    """The vision image with a model's folder."""
    return replace(VISION, built={str(model.resolve()): "opt/contentgen/vision"})


def inputs(image: ImageRecipe, repo: Path) -> Iterator[Path]:
    """Files of the repository that decide what the image is."""
    requirements, packages = image.files(repo)
    common = (repo / each for each in (image.dockerfile, BASE_LOCK, *LICENCES, *ASSEMBLY, *image.data))
    for path in sorted({*common, *requirements, *packages}):
        if path.exists():
            yield from files_of(path)


def tag(image: ImageRecipe, repo: Path, *others: str) -> str:
    """Hash of the image's files and of its other inputs (programs)."""
    named = [text for file in inputs(image, repo) for text in (str(file.relative_to(repo)), content_key(file))]
    return content_key(*named, *others)
