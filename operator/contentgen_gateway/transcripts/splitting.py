"""Transcript splitting without blocking other requests: long transcripts are parsed in a subprocess.

A JSON parser holds the interpreter lock while it parses, about 45 ms for each megabyte.
"""

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path

from pydantic import TypeAdapter

from contentgen_gateway.transcripts.passages import Passage, passages

_IN_PROCESS_BYTES = 500_000  # about twelve minutes of speech; starting a subprocess takes longer than parsing these
_TIMEOUT_SECONDS = 60.0
_MEMORY_BYTES = 256 * 2**20  # added to the subprocess's initial address space; ten hours need half of it
_PASSAGES = TypeAdapter(list[Passage])


async def split(content: bytes) -> list[Passage]:
    """The passages of a transcript.json. Raises ValueError if it is not a transcript, or too large to parse."""
    if len(content) <= _IN_PROCESS_BYTES:
        return await asyncio.to_thread(passages, content)
    return await asyncio.to_thread(_split_in_subprocess, content)


def _split_in_subprocess(content: bytes) -> list[Passage]:
    command = [sys.executable, "-m", "contentgen_gateway.transcripts.splitting"]
    try:
        done = subprocess.run(  # noqa: S603 - a constant command
            command,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"parsing takes longer than {_TIMEOUT_SECONDS:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"not a transcript, or too large to parse (exit status {error.returncode})") from None
    return _PASSAGES.validate_json(done.stdout)


def _main() -> None:
    os.nice(10)  # lower priority than requests
    _limit_memory()
    sys.stdout.buffer.write(_PASSAGES.dump_json(passages(sys.stdin.buffer.read())))


def _limit_memory() -> None:
    # The subprocess shares the container's memory limit; exceeding that would kill the gateway too.
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY_BYTES, mapped + _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _main()
