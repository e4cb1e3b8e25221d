"""Older release of the operator in a separate process, from its stored packages."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from contentgen_contract.names import Kind
from contentgen_simulation.upgrade import driver

Body = dict[str, Any]
OLD = "a5a1c84"
ARCHIVES = Path(__file__).parents[2] / "releases"


class ReleaseFailed(Exception):
    """The older release raised an exception; the message is its traceback."""


class OldRelease:
    """Release of a commit; context manager of its process."""

    def __init__(self, commit: str, folder: Path) -> None:
        with tarfile.open(ARCHIVES / f"{commit}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        self._root = folder / commit

    def __enter__(self) -> Self:
        path = os.pathsep.join(str(self._root / each) for each in ("operator", "tests/simulation"))
        self._process = subprocess.Popen(
            [sys.executable, "-P", driver.__file__, str(self._root)],
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            if self._process.stdin is not None:
                self._process.stdin.close()

    def run(self, kind: Kind, world: Body | None, actions: list[driver.Action]) -> Body:
        """World after these actions. Raises ReleaseFailed."""
        given, told = self._process.stdin, self._process.stdout
        if given is None or told is None:
            raise RuntimeError("the process has no pipes")
        given.write(json.dumps({"kind": kind.value, "world": world, "actions": actions}) + "\n")
        given.flush()
        answer: Body = json.loads(told.readline())
        if "error" in answer:
            raise ReleaseFailed(answer["error"])
        after: Body = answer["world"]
        return after
