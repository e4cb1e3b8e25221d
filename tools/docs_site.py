"""`make site`: the documentation site in build/site, one folder for each version, with search and without a network.

mkdocs builds it strictly: a broken link or anchor, and a document that mkdocs.yml does not list, fail it. Versions that
are in the folder already stay. A web server is enough: `python -m http.server --directory build/site`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.images import wheels
from contentgen_cluster.paths import cache_root

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
START = """\
// Material's bundle draws diagrams with window.mermaid, and loads it from another host where it is missing. A page with
// diagrams loads it from here.
{
  const address = new URL("mermaid.esm.min.mjs", document.currentScript.src)
  let settings = {}
  window.mermaid = {
    initialize(given) { settings = given },
    async render(...diagram) {
      const { default: mermaid } = await import(address)
      mermaid.initialize(settings)
      return mermaid.render(...diagram)
    },
  }
}
"""


STYLE = """\
/* Lines of code have up to 120 columns; names of fields are not divided. */
.md-grid { max-width: 76rem; }
.md-typeset td:first-child code { word-break: normal; }
"""


def main() -> int:
    """Exit status 0, or that of mkdocs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository whose documents are built")
    parser.add_argument("--output", type=Path, default=ROOT / "build/site")
    parser.add_argument("--release", default=project_version(ROOT), help="the name of the version's folder")
    options = parser.parse_args()
    if VERSION.fullmatch(options.release) is None:
        parser.error(f"{options.release} is not a version such as 1.2.3")
    folder = options.output.resolve() / options.release
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # a notice of Material's, on every build
    status = subprocess.run(command, cwd=options.root, env=quiet, check=False).returncode
    if status:
        return status
    add_mermaid(folder / "assets/mermaid")
    (folder / "assets/wide.css").write_text(STYLE)
    write_versions(options.output)
    return 0


def project_version(root: Path) -> str:
    """The version in pyproject.toml."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def add_mermaid(folder: Path) -> None:
    """The files of mermaid, and the script that gives them to the pages."""
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(wheels.mermaid(ContentCache(root)), folder, dirs_exist_ok=True)
    (folder / "start.js").write_text(START)


def write_versions(output: Path) -> None:
    """The list that the selector of versions reads, newest first, and the start page that leads to the newest."""
    found = sorted((path.name for path in output.iterdir() if VERSION.fullmatch(path.name)), key=_order, reverse=True)
    newest = next((version for version in found if "-" not in version), found[0])
    listed = [
        {"version": version, "title": version, "aliases": ["latest"] if version == newest else []} for version in found
    ]
    (output / "versions.json").write_text(json.dumps(listed, indent=1) + "\n")
    refresh = f'<meta http-equiv="refresh" content="0; url={newest}/index.html">'
    (output / "index.html").write_text(
        f'<!doctype html>\n<meta charset="utf-8">\n<title>contentgen</title>\n{refresh}\n'
    )


def _order(version: str) -> tuple[list[int], bool, list[tuple[bool, int, str]]]:
    """Order of semantic versions: a pre-release is before its release, and its numbers count as numbers."""
    release, _, early = version.partition("-")
    parts = [(not text.isdigit(), int(text) if text.isdigit() else 0, text) for text in early.split(".")]
    return [int(text) for text in release.split(".")], not early, parts


if __name__ == "__main__":
    sys.exit(main())
