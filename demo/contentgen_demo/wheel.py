"""Files that the wheel has beside the code, for `contentgen try`, and the wheel: `python -m contentgen_demo.wheel`.

The jars come from Maven's central repository, verified by sandbox/mongo/jars.sha256; the video is generated.
"""

import argparse
import shutil
import sys
from pathlib import Path

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.commands import ClusterError, run
from contentgen_cluster.images import sandbox_inputs
from contentgen_cluster.paths import REPO, cache_root
from contentgen_demo.errors import DemoError
from contentgen_demo.film import video

DATA = REPO / "try/contentgen_try/data"
DIST = REPO / "dist"


def main() -> int:
    """Place the files, and build the wheel unless --data is given."""
    parser = argparse.ArgumentParser(prog="contentgen_demo.wheel", description=__doc__)
    parser.add_argument("--data", action="store_true", help="only the files, for a checkout")
    only_data = parser.parse_args().data
    try:
        place(DATA)
        if not only_data:
            print(build(DIST))
    except (ClusterError, DemoError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    return 0


def place(data: Path) -> None:
    """Fill the folder. Raises ClusterError or DemoError."""
    if not data.exists():
        print("Preparing the stores' programs and the sample video …", file=sys.stderr)
    jars = sandbox_inputs.jars(ContentCache(cache_root()))
    film = video.ensure_film()
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(jars, unfinished / "mongo")
    shutil.copytree(REPO / "crds", unfinished / "crds")
    shutil.copytree(REPO / "samples", unfinished / "samples")
    shutil.copyfile(film.path, unfinished / "talk.mp4")
    shutil.copytree(REPO / "licenses", unfinished / "licenses")
    for name in ("LICENSE", "THIRD-PARTY-NOTICES.txt"):
        shutil.copyfile(REPO / name, unfinished / "licenses" / name)
    shutil.rmtree(data, ignore_errors=True)
    unfinished.rename(data)


def build(target: Path) -> Path:
    """Build the wheel; returns its path. Raises CommandError."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", target, cwd=REPO)
    return max(target.glob("contentgen-*.whl"), key=lambda each: each.stat().st_mtime)


if __name__ == "__main__":
    sys.exit(main())
