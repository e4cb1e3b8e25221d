"""Image builds without Docker: buildah, on a base image made from Debian packages.

The machine's certificates and pip settings are mounted during the build, so neither the image nor its history
contains them; build arguments would stay in the history.
"""

import configparser
import io
import shutil
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from contentgen_cluster import mounts
from contentgen_cluster.cache import ContentCache, content_key
from contentgen_cluster.commands import Argument, CommandError, run, succeeds
from contentgen_cluster.images.references import ImageRecipe
from contentgen_cluster.layout import Layout, folder_tar
from contentgen_cluster.paths import REPO

_SUITE = "bookworm"
_INCLUDED = "python3,python3-venv,ca-certificates"
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log",
    "tmp",
)
_BASE_CONFIG = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]}
BASE_IMAGE = f"localhost/contentgen-base:{content_key(_SUITE, _INCLUDED, *_LEFT_OUT, *_BASE_CONFIG['Env'], '2')}"
RUN_ROOT = Path("/run/contentgen-buildah")
_ENV = {"BUILDAH_ISOLATION": "chroot"}
_CERTIFICATES = Path("/etc/ssl/certs")
_IN_PIP_CONF = {
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-index",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
}


class Buildah:
    """buildah with its own storage in the content cache, so that layers survive the cluster."""

    def __init__(self, cache: ContentCache, layout: Layout) -> None:
        self._cache = cache
        self._layout = layout
        self._pulling = threading.Lock()
        storage = cache.root / "buildah"
        self._buildah: tuple[Argument, ...] = (
            "buildah",
            f"--root={storage}",
            f"--runroot={RUN_ROOT}",
            "--storage-driver=overlay",
        )

    def base(self) -> str:
        """Create the base image: Debian with Python 3.11, instead of `python:3.13-slim`."""
        if self._layout.has(BASE_IMAGE):
            return "cached"
        with tempfile.TemporaryDirectory(dir=self._cache.root) as scratch:
            root = Path(scratch) / "root"
            run("debootstrap", "--variant=minbase", f"--include={_INCLUDED}", _SUITE, root)
            (root / "usr/bin/python").symlink_to("python3")
            with folder_tar(root, skip=_LEFT_OUT) as layer:
                self._layout.add(BASE_IMAGE, layer, _BASE_CONFIG)
        size = self._layout.size(BASE_IMAGE)
        return f"{size >> 20} MB"

    def build(self, image: ImageRecipe, reference: str) -> None:
        """Build one image from the repository into the OCI layout."""
        self._pull_base()
        with tempfile.TemporaryDirectory() as scratch:
            run(
                *self._buildah,
                "build",
                "--quiet",
                "--layers",
                "--force-rm",  # also after a failed build, whose container would stay mounted
                "--pull-never",
                "--format=oci",
                f"--build-arg=BASE_IMAGE={BASE_IMAGE}",
                *self._mounts(Path(scratch)),
                f"--file={REPO / image.dockerfile}",
                f"--tag={reference}",
                REPO,
                env=_ENV,
            )
        self._export(reference)

    def take_down(self) -> None:
        """Unmount everything; the layers stay in the content cache."""
        with suppress(CommandError):  # buildah is not installed, or finds nothing
            run(*self._buildah, "rm", "--all")
        mounts.unmount_below(self._cache.root / "buildah")
        if RUN_ROOT.exists():
            mounts.unmount_below(RUN_ROOT)
            shutil.rmtree(RUN_ROOT)

    def _pull_base(self) -> None:
        with self._pulling:
            if succeeds(*self._buildah, "inspect", "--type=image", BASE_IMAGE):
                return
            # buildah makes a name out of the path, and the one of the cache may not be fit for that.
            plain = RUN_ROOT / "layout"
            plain.parent.mkdir(exist_ok=True)
            plain.unlink(missing_ok=True)
            plain.symlink_to(self._layout.folder)
            pulled = run(*self._buildah, "pull", "--quiet", f"oci:{plain}:{BASE_IMAGE}").strip()
            run(*self._buildah, "tag", pulled, BASE_IMAGE)

    def _export(self, reference: str) -> None:
        with self._layout.changing:
            target = f"oci:{self._layout.folder}:{reference}"
            run(*self._buildah, "push", "--quiet", "--format=oci", reference, target)
            self._layout.decompress(reference)

    def _mounts(self, scratch: Path) -> list[str]:
        pip_cache = self._cache.root / "pip"
        pip_cache.mkdir(parents=True, exist_ok=True)
        configuration = scratch / "pip.conf"
        settings = pip_settings(run(sys.executable, "-m", "pip", "config", "list"))
        configuration.write_text(pip_conf(settings))
        mounts = {str(pip_cache): "/root/.cache/pip", str(configuration): "/etc/pip.conf:ro"}
        if _CERTIFICATES.is_dir():
            mounts[str(_CERTIFICATES)] = f"{_CERTIFICATES}:ro"
        for path in settings.values():  # a folder of wheels, a certificate
            if path.startswith("/") and Path(path).exists() and not Path(path).is_relative_to(_CERTIFICATES):
                mounts[path] = f"{path}:ro"
        return [f"--volume={source}:{target}" for source, target in mounts.items()]


def pip_settings(listed: str) -> dict[str, str]:
    """pip's index settings from the output of `pip config list` (files and environment; the last value wins)."""
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in _IN_PIP_CONF:
            settings[option] = value.strip("'\"")
    return settings


def pip_conf(settings: dict[str, str]) -> str:
    """Content of a pip.conf with these settings."""
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
