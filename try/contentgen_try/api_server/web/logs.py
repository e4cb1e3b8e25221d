"""Logs of pods: files `NAMESPACE/POD.log` of one folder."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from contentgen_try.api_server.refusals import Refusal

Body = dict[str, Any]
_POLL_SECONDS = 0.2
_CHUNK = 65536
_ENDED = ("Succeeded", "Failed")


class PodLog:
    """Log of one pod. `find` returns the pod as it is now, None if it is gone. Raises Refusal 400 before it started."""

    def __init__(
        self, folder: Path | None, pod: Body, find: Callable[[], Body | None], query: Mapping[str, str]
    ) -> None:
        metadata = pod["metadata"]
        self._find = find
        self._follow = query.get("follow") in ("true", "1")
        self._lines = _count(query, "tailLines")
        self._bytes = _count(query, "limitBytes")
        container = query.get("container") or _first_container(pod)
        path = folder / metadata["namespace"] / f"{metadata['name']}.log" if folder is not None else None
        try:
            self._handle = os.open(path or os.devnull, os.O_RDONLY | os.O_NOFOLLOW) if path is not None else -1
        except OSError:
            self._handle = -1
        if self._handle < 0:
            raise Refusal(400, f'container "{container}" in pod "{metadata["name"]}" is waiting to start: '
                               "ContainerCreating")  # fmt: skip

    async def parts(self) -> AsyncIterator[bytes]:
        """The log; while it is followed, until the pod has ended."""
        try:
            with os.fdopen(self._handle, "rb") as stream:
                left = self._bytes
                if self._lines is not None:
                    stream.seek(_start_of_tail(stream.read(), self._lines))
                while left is None or left > 0:
                    over = not self._follow or self._has_ended()
                    part = stream.read(_CHUNK if left is None else min(_CHUNK, left))
                    if part:
                        left = None if left is None else left - len(part)
                        yield part
                    elif over:
                        return
                    else:
                        await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._handle = -1

    def _has_ended(self) -> bool:
        pod = self._find()
        return pod is None or (pod.get("status") or {}).get("phase") in _ENDED


def _first_container(pod: Body) -> str:
    return str(pod["spec"]["containers"][0].get("name", ""))


def _count(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Refusal(422, f"{name}: Invalid value: {text[:50]!r}: must be a whole number")
    return int(text)


def _start_of_tail(content: bytes, lines: int) -> int:
    """Offset of the last lines."""
    if lines == 0:
        return len(content)
    at = len(content) - content.endswith(b"\n")
    for _ in range(lines):
        at = content.rfind(b"\n", 0, max(at, 0))
        if at < 0:
            return 0
    return at + 1
