"""`make vendor`: what the gateway's pages take from other projects, as their npm packages hold it, beside its licence.

Nothing is built: a browser gets these very bytes. The hash of each package is here, that of each file in CHECKSUMS,
which `sha256sum --check` reads and a unit test checks without a registry.
"""

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDORED = ROOT / "operator/contentgen_gateway/pages/rendering/vendored"
ICONS = (
    "activity", "arrow-left", "audio-lines", "ban", "chart-column", "check", "chevron-right", "circle-alert",
    "circle-check", "clock", "copy", "download", "external-link", "folder", "folder-plus", "folders", "image", "images",
    "key-round", "layers", "layout-dashboard", "list", "loader-circle", "log-out", "monitor", "moon", "pencil",
    "rotate-ccw", "search", "share-2", "sparkles", "sun", "tag", "trash-2", "triangle-alert", "user", "wallet", "x",
)  # fmt: skip


@dataclass(frozen=True)
class Package:
    """An npm package, by name, version and the hash that the registry states for it; and what is taken from it."""

    name: str
    version: str
    sha512: str  # base64
    files: dict[str, str]  # path in the package -> path in VENDORED


PACKAGES = (
    Package(
        "htmx.org",
        "2.0.11",
        "Thx/WtpeOQqSrqBCw/A1cwGJGg4UrVa3+sW0GmrM3p4gJgO89ecH4qtbnyzDDWFvBTqjnIMCgELTNt636dtamA==",
        {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "htmx.LICENSE"},
    ),
    Package(
        "@fontsource-variable/inter",
        "5.3.0",
        "OupL48va4JNofb97w6NYeF9S7W/kHNKM0Er8Dem5nqi4jeOLrVJDoE8tZEpnMJmtkvNbB1EIPPwHcdkF6b1oUA==",
        {
            "files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
            "files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
            "LICENSE": "inter.LICENSE",
        },
    ),
    Package(
        "lucide-static",
        "1.62.0",
        "WBZA/m2PvkFpMGHDtsBck5P2A9G4ehLlYu4GwwICcmEm1BvYVgj00lCDxKRWLlbMlOibLaiwdQ88G5pHkSWgwA==",
        {"LICENSE": "icons/LICENSE"} | {f"icons/{name}.svg": f"icons/{name}.svg" for name in ICONS},
    ),
)


def main() -> int:
    """Fetch, check, lay down."""
    VENDORED.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        _lay_down(package)
    laid = sorted(VENDORED / path for package in PACKAGES for path in package.files.values())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(VENDORED)}\n" for path in laid]
    (VENDORED / "CHECKSUMS").write_text("".join(lines))
    return 0


def _lay_down(package: Package) -> None:
    packed = _packed(package)
    found = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    if found != package.sha512:
        sys.exit(f"{package.name} {package.version} has the sha512 {found}, not {package.sha512}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for path, target in package.files.items():
            member = archive.extractfile(f"package/{path}")
            if member is None:
                sys.exit(f"{package.name} {package.version} has no {path}")
            (VENDORED / target).parent.mkdir(parents=True, exist_ok=True)
            (VENDORED / target).write_bytes(member.read())


def _packed(package: Package) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package.name}@{package.version}"
        command = ["npm", "pack", wanted, "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, capture_output=True)
        return next(Path(folder).glob("*.tgz")).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
