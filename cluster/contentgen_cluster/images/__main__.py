"""Command line of the Dockerfiles: `python3 -m contentgen_cluster.images IMAGE FOLDER` writes its root file system.

It needs Python 3.11 or newer and uv, nothing else.
"""

import sys
import tempfile
from pathlib import Path

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.images import references
from contentgen_cluster.images.layers import Layers, extract, host_architecture


def main() -> None:
    name, folder = sys.argv[1:]
    image = next(each for each in (*references.ALL, references.VISION) if each.name == name)
    with tempfile.TemporaryDirectory() as cache:
        extract(Layers(ContentCache(Path(cache))).of(image, host_architecture()), Path(folder))


if __name__ == "__main__":
    main()
