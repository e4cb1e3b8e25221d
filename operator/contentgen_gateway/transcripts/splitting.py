"""Cuts a transcript into passages without keeping anybody waiting: a parser holds the interpreter for as long as it
parses, 45 ms a megabyte, so a long recording's is parsed by a child.
"""

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path

from pydantic import TypeAdapter

from contentgen_gateway.transcripts.passages import Passage, passages

_IN_PROCESS_BYTES = 500_000  # bytes: some twelve minutes of speech; a child takes longer than that to start
_TIMEOUT_SECONDS = 60.0
_MEMORY_BYTES = 256 * 2**20  # bytes that the child may map beyond those that it starts with; ten hours need half of it
_PASSAGES = TypeAdapter(list[Passage])


async def split(content: bytes) -> list[Passage]:
    """As `passages`. Raises ValueError where it is no transcript."""
    if len(content) <= _IN_PROCESS_BYTES:
        return await asyncio.to_thread(passages, content)
    return await asyncio.to_thread(_split_in_subprocess, content)


def _split_in_subprocess(content: bytes) -> list[Passage]:
    command = [sys.executable, "-m", "contentgen_gateway.transcripts.splitting"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it takes longer than {_TIMEOUT_SECONDS:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"no transcript, or more than its child could bear ({error.returncode})") from None
    return _PASSAGES.validate_json(done.stdout)


def _main() -> None:
    os.nice(10)  # whoever waits for an answer comes first
    _limit_memory()
    sys.stdout.buffer.write(_PASSAGES.dump_json(passages(sys.stdin.buffer.read())))


def _limit_memory() -> None:
    # The child shares the memory limit of the gateway's container: beyond it, both would be killed.
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY_BYTES, mapped + _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _main()
