"""Facts about the providers (`facts/` of the repository): the only source of the sandbox's models, inputs, outputs and
prices. The product's own tables are not imported, so that an error in them shows.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGED = Path(__file__).with_name("data")
FOLDER = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "facts"
"""Folder with `fal` and `assemblyai`: in the package, where image and wheel have it, else that of the checkout."""


@cache
def read(name: str) -> Mapping[str, Any]:
    """Content of one file, such as `fal/platform.json`. Raises OSError if the facts are not there."""
    content: Mapping[str, Any] = json.loads((FOLDER / name).read_text())
    return content


def names(folder: str) -> tuple[str, ...]:
    """Names of the files in a folder, such as `fal/models`, for `read`. Raises OSError if there are none."""
    found = tuple(f"{folder}/{path.name}" for path in sorted((FOLDER / folder).glob("*.json")))
    if not found:
        raise FileNotFoundError(f"no facts in {FOLDER / folder}")
    return found
