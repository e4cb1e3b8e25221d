"""Release notes: the section of one version in CHANGELOG.md."""

import re

from contentgen_release.errors import ReleaseError
from contentgen_release.source import prerelease

_HEADING = re.compile(r"^## \[?(?P<name>[^\]\s]+)\]?(?P<rest>.*)$")
_DATE = re.compile(r" - \d{4}-\d{2}-\d{2}")
UNRELEASED = "Unreleased"


def release_notes(changelog: str, version: str) -> str:
    """Text of the version's section, without its heading. A prerelease may use the section Unreleased.

    Raises ReleaseError if there is no such section, if it is empty or has no date, or if changes are still listed as
    unreleased.
    """
    sections = _sections(changelog)
    unreleased = sections.get(UNRELEASED, ("", ""))[1]
    if version in sections:
        rest, text = sections[version]
        if not _DATE.fullmatch(rest.rstrip()):
            raise ReleaseError(f"CHANGELOG.md: expected the heading `## {version} - YYYY-MM-DD`")
        if unreleased:
            raise ReleaseError(
                f"CHANGELOG.md has a section {version}, and changes under {UNRELEASED} that would be part of the "
                "release without being in its notes: move them"
            )
    elif prerelease(version):
        text = unreleased
    else:
        raise ReleaseError(
            f"CHANGELOG.md has no section {version}: rename `## {UNRELEASED}` to `## {version} - YYYY-MM-DD`, add an "
            f"empty `## {UNRELEASED}` above it, and commit that"
        )
    if not text:
        raise ReleaseError(f"CHANGELOG.md: the section for {version} is empty")
    return f"{text}\n"


def _sections(changelog: str) -> dict[str, tuple[str, str]]:
    """Rest of the heading and text of each section, by name. Raises ReleaseError for two of one name."""
    found: dict[str, tuple[str, list[str]]] = {}
    lines: list[str] = []
    for line in changelog.splitlines():
        if heading := _HEADING.match(line):
            if heading["name"] in found:
                raise ReleaseError(f"CHANGELOG.md has two sections {heading['name']}")
            lines = []
            found[heading["name"]] = (heading["rest"], lines)
        else:
            lines.append(line)
    return {name: (rest, "\n".join(lines).strip()) for name, (rest, lines) in found.items()}
