"""Layers of our images as compressed tars in the content cache, the same bytes for the same inputs.

`pack.py` runs in the image's own Python, started from the unpacked base layer of this machine's architecture by that
layer's loader. Nothing of another architecture runs.
"""

import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key, unpack
from contentgen_cluster.commands import ClusterError, run
from contentgen_cluster.images import references, rootfs
from contentgen_cluster.images.debian import read_lock
from contentgen_cluster.images.references import BASE_LOCK, ImageRecipe
from contentgen_cluster.paths import REPO

EPOCH = 315532800
"""Time stamp of every file, 1980-01-01, the first that a zip archive can have."""
_LOADERS = {
    "amd64": "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "arm64": "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_PACK = Path(__file__).with_name("pack.py")


@dataclass(frozen=True)
class Layer:
    """A compressed tar; sizes in bytes, `diff_id` and `size` of the uncompressed tar."""

    path: Path
    diff_id: str
    digest: str
    size: int
    compressed: int


def host_architecture() -> str:
    """This machine's architecture. Raises ClusterError where the images' Python cannot run."""
    found = _MACHINES.get(platform.machine())
    if platform.system() != "Linux" or found is None:
        raise ClusterError("images are assembled on Linux (amd64 or arm64); elsewhere use `docker build`")
    return found


class Layers:
    """Layers by image and architecture, made once."""

    def __init__(self, cache: ContentCache) -> None:
        self._cache = cache
        self._lock = read_lock()

    def of(self, image: ImageRecipe, architecture: str) -> tuple[Layer, Layer, Layer]:
        return (
            self.base(architecture),
            self._packages(image, architecture),
            self._application(image, architecture),
        )

    def base(self, architecture: str) -> Layer:
        # Unpacked again: the tree of this machine's architecture has no byte code, because it is the one that runs.
        fill = partial(self._unpack_base, architecture)
        return self._layer(f"base-{architecture}", _base_key(), fill, folders=rootfs.special_folders())

    def _packages(self, image: ImageRecipe, architecture: str) -> Layer:
        key = content_key(_base_key(), *image.files()[0])
        name = f"{image.name}-packages-{architecture}"
        return self._layer(name, key, lambda root: rootfs.packages_tree(image, architecture, root), rootfs.SOURCELESS)

    def _application(self, image: ImageRecipe, architecture: str) -> Layer:
        suffix = "" if architecture == host_architecture() else f"-{architecture}"
        built = {REPO / source: place for source, place in image.built.items()}
        built |= {REPO / f"{source}{suffix}": place for source, place in image.programs.items()}
        licences = [REPO / licence for licence in references.LICENCES]
        data = [REPO / source for source in image.data]
        key = content_key(_base_key(), *licences, *image.files()[1], *data, *built)
        return self._layer(
            f"{image.name}-{architecture}",
            key,
            lambda root: rootfs.application_tree(image, built, root),
            folders=rootfs.special_folders(image),
        )

    def _interpreter(self) -> Path:
        """Unpacked base of this machine's architecture, whose Python runs here."""
        return self._cache.entry("base", _base_key(), partial(self._unpack_base, host_architecture()))

    def _unpack_base(self, architecture: str, root: Path) -> None:
        rootfs.base_tree(self._cache, self._lock, architecture, root)

    def _layer(
        self,
        name: str,
        key: str,
        fill: Callable[[Path], None],
        sourceless: tuple[str, ...] = (),
        folders: Mapping[str, tuple[int, int]] | None = None,
    ) -> Layer:
        def make(entry: Path) -> None:
            interpreter = self._interpreter()
            entry.mkdir()
            with tempfile.TemporaryDirectory(dir=self._cache.root) as folder:
                root = Path(folder) / "root"
                root.mkdir()
                fill(root)
                wanted = {
                    "root": str(root),
                    "target": str(entry / "layer.tar.gz"),
                    "epoch": EPOCH,
                    "folders": dict(folders or {}),
                    "sourceless": sourceless,
                }
                (entry / "layer.json").write_text(_pack(interpreter, json.dumps(wanted)))

        entry = self._cache.entry(f"layer-{name}", key, make)
        about = json.loads((entry / "layer.json").read_text())
        found = {field: about[field] for field in ("diff_id", "digest", "size", "compressed")}
        return Layer(path=entry / "layer.tar.gz", **found)


def extract(layers: tuple[Layer, ...], root: Path) -> None:
    """Unpack layers into one folder, for the Dockerfiles and for tests."""
    root.mkdir(parents=True, exist_ok=True)
    for layer in layers:
        unpack(layer.path, root)


def _base_key() -> str:
    return content_key(REPO / BASE_LOCK, *(REPO / each for each in references.ASSEMBLY if "dockerfile" not in each))


def _pack(interpreter: Path, wanted: str) -> str:
    loader = interpreter / _LOADERS[host_architecture()]
    python = interpreter / f"usr/bin/python{rootfs.PYTHON}"
    # Sets of constants are marshalled in an order that depends on the seed.
    environment = {"PYTHONHOME": str(interpreter / "usr"), "PYTHONHASHSEED": "0", "PYTHONPATH": ""}
    return run(loader, "--library-path", loader.parent, python, "-s", _PACK, stdin=wanted, env=environment)
