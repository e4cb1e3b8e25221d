"""promtool, which checks and tests alerting rules: Debian's, or the one on the PATH."""

import shutil
import tempfile
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key
from contentgen_cluster.commands import ClusterError, CommandError, run


def promtool(cache: ContentCache) -> Path:
    """Folder with promtool."""

    def unpack(target: Path) -> None:
        target.mkdir()
        program = shutil.which("promtool")
        with tempfile.TemporaryDirectory() as scratch:
            program = program or str(_debians(Path(scratch)))
            shutil.copy(program, target / "promtool")

    return cache.entry("promtool", content_key("prometheus of Debian 12"), unpack)


def _debians(scratch: Path) -> Path:
    if shutil.which("apt-get") is None:
        raise ClusterError("needs promtool in PATH: install Prometheus")
    # apt's sandbox user cannot write here; apt prints a warning and downloads as root.
    download = ["sh", "-c", f"cd {scratch} && apt-get download -qq prometheus"]
    try:
        run(*download)
    except CommandError:  # the machine's lists of packages are missing or old
        run("apt-get", "update", "-qq")
        run(*download)
    run("dpkg", "--extract", next(scratch.glob("prometheus_*.deb")), scratch / "unpacked")
    return scratch / "unpacked/usr/bin/promtool"
