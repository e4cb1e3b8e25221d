"""Archives of the kubectl plugin and its krew manifest.

An archive contains a launcher, our packages and their locked dependencies with the native modules of each Python
version, so that it needs a Python of 3.11 or newer and no installation.
"""

import csv
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from contentgen_cluster.commands import run
from contentgen_release.artifacts import archives
from contentgen_release.errors import ReleaseError
from contentgen_release.source import ReleaseSource

PLATFORMS = {
    "linux-amd64": "x86_64-manylinux_2_28",
    "linux-arm64": "aarch64-manylinux_2_28",
    "darwin-amd64": "x86_64-apple-darwin",
    "darwin-arm64": "aarch64-apple-darwin",
}
"""uv's names of the platforms. Windows needs an executable program, which a Python script is not."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROGRAM = "kubectl-contentgen"
_COMPLETION = "kubectl_complete-contentgen"
_PACKAGES = ("cli/contentgen_cli", "operator/contentgen_contract")
_KEPT_METADATA = ("METADATA", "LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
_LAUNCHER = """#!/usr/bin/env python3
import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit("error: kubectl contentgen needs Python 3.11 to 3.14; python3 is %d.%d" % sys.version_info[:2])

from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from {module} import main

main()
"""
_TEXTS = ("LICENSE", "THIRD-PARTY-NOTICES.txt")
Members = dict[str, tuple[bytes, bool]]


def build(staged: Path, origin: ReleaseSource) -> Iterator[tuple[str, bytes]]:
    """Platforms of PLATFORMS, each with its archive (.tar.gz)."""
    lock = (staged / "requirements/cli.txt").read_text()
    # All dependencies once. Those with native modules again for each platform and version; that are few and small.
    pure, native = separated(_installed(lock, "linux-amd64", PYTHONS[0]))
    common = own_files(staged, origin) | pure
    for platform in PLATFORMS:
        members = common
        for python in PYTHONS:
            members = merged(members, _kept(_installed(only(lock, native), platform, python)))
        yield platform, archives.tar_gz(members, origin.epoch)


def own_files(staged: Path, origin: ReleaseSource) -> Members:
    """Launchers, our packages and texts, which are the same for all platforms."""
    members: Members = {
        PROGRAM: (_LAUNCHER.format(module="contentgen_cli.__main__").encode(), True),
        _COMPLETION: (_LAUNCHER.format(module="contentgen_cli.completion").encode(), True),
        f"lib/contentgen-{origin.version}.dist-info/METADATA": (_metadata(origin), False),
    }
    for package in _PACKAGES:
        folder = staged / package
        members |= _kept(archives.folder_members(folder, f"lib/{folder.name}/"))
    return members | {name: ((staged / name).read_bytes(), False) for name in _TEXTS if (staged / name).exists()}


def only(lock: str, names: Collection[str]) -> str:
    """Requirements of a lock with these normalized names, with their hashes. Raises ReleaseError for unknown names."""
    found = {text.partition("==")[0]: text for text in re.split(r"\n(?! )", lock)}
    if unknown := sorted(set(names) - found.keys()):
        raise ReleaseError(f"requirements/cli.txt does not lock {', '.join(unknown)}")
    return "".join(f"{found[name]}\n" for name in sorted(names))


def merged(one: Members, other: Members) -> Members:
    """Union of the files for several Python versions. Raises ReleaseError if they differ in a file."""
    different = sorted(name for name in one.keys() & other.keys() if one[name] != other[name])
    if different:
        raise ReleaseError(f"the plugin's dependencies differ between Python versions: {', '.join(different[:3])}")
    return one | other


def manifest(origin: ReleaseSource, downloads: str, sums: Mapping[str, str]) -> str:
    """Krew manifest; `downloads` is the URL of the folder with the archives, `sums` their SHA-256 by platform."""
    platforms = []
    for platform, sha256 in sorted(sums.items()):
        system, _, architecture = platform.partition("-")
        platforms.append(
            {
                "selector": {"matchLabels": {"os": system, "arch": architecture}},
                "uri": f"{downloads}/{archive_name(platform, origin)}",
                "sha256": sha256,
                "bin": PROGRAM,
            }
        )
    about = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "contentgen"},
        "spec": {
            "version": f"v{origin.version}",
            "homepage": downloads.partition("/releases/")[0],
            "shortDescription": "Inspect and steer contentgen resources",
            "description": "Shows why a LoraTraining, an ImageGeneration or a Transcription waits or has failed,\n"
            "the logs of its workers, its files and its cost. Retries, cancels and moves resources.\n",
            "caveats": "Needs Python 3.11 to 3.14 as python3 on the PATH.\n",
            "platforms": platforms,
        },
    }
    problems = krew_problems(about)
    if problems:
        raise ReleaseError(f"krew would refuse the manifest: {'; '.join(problems)}")
    return yaml.safe_dump(about, sort_keys=False)


def krew_problems(about: Mapping[str, Any]) -> list[str]:
    """Violations of krew's rules for manifests (its internal/index/validation and its naming guide)."""
    spec = about.get("spec", {})
    name = about.get("metadata", {}).get("name", "")
    found = []
    if about.get("apiVersion") != "krew.googlecontainertools.github.com/v1alpha2" or about.get("kind") != "Plugin":
        found.append("apiVersion or kind is wrong")
    if not re.fullmatch(r"[\w-]+", name):
        found.append(f"the name {name!r} is not safe")
    if not re.fullmatch(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", spec.get("version", "")):
        found.append("the version is not v and a semantic version")
    short = spec.get("shortDescription", "")
    if not re.fullmatch(r".{1,49}[^.]", short):
        found.append("the short description is missing, has several lines, over 50 characters or a full stop")
    if not spec.get("platforms"):
        found.append("it has no platform")
    selectors = [platform.get("selector") for platform in spec.get("platforms", [])]
    if any(selectors.count(selector) > 1 for selector in selectors):
        found.append("it has two platforms with one selector")
    return found + [problem for platform in spec.get("platforms", []) for problem in _platform_problems(platform)]


def _platform_problems(platform: Mapping[str, Any]) -> Iterator[str]:
    selector = platform.get("selector")
    if not re.fullmatch(r"[0-9a-f]{64}", platform.get("sha256", "")):
        yield f"the SHA-256 of {selector} is not 64 hexadecimal digits"
    if not re.fullmatch(r"https://\S+\.(tar\.gz|zip)", platform.get("uri", "")):
        yield f"the URI of {selector} is not https://….tar.gz"
    if not platform.get("bin"):
        yield f"{selector} has no program"


def archive_name(platform: str, origin: ReleaseSource) -> str:
    """File name of a platform's archive."""
    return f"{PROGRAM}-{origin.version}-{platform}.tar.gz"


def _installed(lock: str, platform: str, python: str) -> Members:
    """Files of the locked packages for a platform and a Python version."""
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as scratch:
        wanted, target = Path(scratch) / "requirements.txt", Path(scratch) / "lib"
        wanted.write_text(lock)
        run(
            uv, "pip", "install", "--quiet", "--target", target, "--python", sys.executable, "--no-deps",
            "--python-platform", PLATFORMS[platform], "--python-version", python, "--only-binary", ":all:",
            "--require-hashes", "--requirements", wanted,
        )  # fmt: skip
        return archives.folder_members(target, "lib/")


def separated(installed: Members) -> tuple[Members, set[str]]:
    """Files of the packages without native modules, and the normalized names of the other packages."""
    pure: Members = {}
    native = set()
    for name, (content, _) in installed.items():
        if not name.endswith(".dist-info/WHEEL"):
            continue
        folder = name.removesuffix("/WHEEL")
        if b"Root-Is-Purelib: true" in content:
            record = installed[f"{folder}/RECORD"][0].decode().splitlines()
            files = {f"lib/{path}" for path, *_ in csv.reader(record)}
            pure |= {each: installed[each] for each in files & installed.keys()}
        else:
            native.add(_distribution(folder))
    return _kept(pure), native


def _distribution(folder: str) -> str:
    """Normalized name of the package of a .dist-info folder."""
    name, _, _ = folder.removeprefix("lib/").removesuffix(".dist-info").rpartition("-")
    return re.sub(r"[-_.]+", "-", name).lower()


def _kept(installed: Members) -> Members:
    """Files without scripts, caches and installation records."""
    kept = {}
    for name, content in installed.items():
        parts = name.split("/")
        if parts[1] == "bin" or "__pycache__" in parts or parts[-1] == ".lock":
            continue
        if parts[1].endswith(".dist-info") and not (parts[-1].startswith(_KEPT_METADATA) or "licenses" in parts):
            continue
        kept[name] = content
    return kept


def _metadata(origin: ReleaseSource) -> bytes:
    return f"Metadata-Version: 2.1\nName: contentgen\nVersion: {origin.version}\n".encode()
