"""CycloneDX 1.6 bills of materials, with components from the locks."""

import datetime
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from contentgen_release.source import ReleaseSource

_NAMESPACE = uuid.UUID("6f1f5cc1-5d6b-4c1c-8a52-2a2f6b7f3f0d")
"""Namespace of the serial numbers, which are made from the subject's digest."""
DISTRIBUTION = "debian-12"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def python_components(lock: Path, python: str, architecture: str = "amd64") -> list[Component]:
    """Packages of a lock that a Linux machine installs; `python` is such as 3.11."""
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": _MACHINES[architecture],
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    found = []
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        pinned = line.partition(" --hash")[0].strip()
        if not pinned or pinned.startswith("#"):
            continue
        requirement = Requirement(pinned)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (version,) = (each.version for each in requirement.specifier)
            url = PackageURL("pypi", name=requirement.name.lower(), version=version)
            found.append(_component(requirement.name, version, url))
    return found


def debian_components(lock: str, architectures: Collection[str]) -> list[Component]:
    """Debian packages of requirements/base.lock for some architectures."""
    found = []
    for line in lock.splitlines():
        architecture, _, rest = line.partition(" ")
        if architecture in architectures:
            name, version, sha256, _ = rest.split()
            url = PackageURL("deb", "debian", name, version, {"arch": architecture, "distro": DISTRIBUTION})
            found.append(_component(name, version, url, HashType(alg=HashAlgorithm.SHA_256, content=sha256)))
    return found


def document(
    subject: str, sha256: str, origin: ReleaseSource, components: Iterable[Component], *, container: bool
) -> str:
    """CycloneDX JSON about a file or an image with this SHA-256 (hexadecimal digits)."""
    about = Component(
        name=subject,
        version=origin.version,
        type=ComponentType.CONTAINER if container else ComponentType.APPLICATION,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        bom_ref=subject,
    )
    bom = Bom(components=components, serial_number=uuid.uuid5(_NAMESPACE, sha256))
    bom.metadata.component = about
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(origin.epoch, datetime.UTC)
    bom.register_dependency(about, bom.components)
    return f"{JsonV1Dot6(bom).output_as_string(indent=2)}\n"


def _component(name: str, version: str, url: PackageURL, *hashes: HashType) -> Component:
    kind = ComponentType.LIBRARY
    return Component(name=name, version=version, type=kind, purl=url, bom_ref=url.to_string(), hashes=hashes)
