"""Program that makes a layer of a folder: byte code, then a sorted tar, then gzip.

It runs in the interpreter of the image itself (`interpreter.py`), so that neither this machine's Python nor its zlib
changes a byte. It reads a JSON object from standard input and imports nothing of ours.
"""

import gzip
import hashlib
import json
import os
import py_compile
import sys
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

_CHUNK = 8 * 2**20
_LEVEL = 6
_UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def compile_all(root: Path, sourceless: list[str]) -> None:
    """Byte code of every module below `root`, whose time stamps are no part of it.

    Each file is compiled in a fork of the same process: the marshalled bytes depend on how often a string was used
    before. The modules of the packages in `sourceless` lose their source.
    """
    running = 0
    for source in sorted(root.rglob("*.py")):
        name = source.relative_to(root)
        if not str(name).startswith(("usr/lib/python3", "usr/local/lib/python3", "opt/")):
            continue
        bare = any(str(name).startswith(f"{each}/") for each in sourceless)
        if running == (os.cpu_count() or 1):
            _reap()
            running -= 1
        if os.fork() == 0:
            os._exit(_compile(source, name, bare=bare))
        running += 1
    for _ in range(running):
        _reap()


def _compile(source: Path, name: Path, *, bare: bool) -> int:
    target = str(source.with_suffix(".pyc")) if bare else None
    try:
        py_compile.compile(str(source), target, f"/{name}", doraise=True, invalidation_mode=_UNCHECKED)
        if bare:
            source.unlink()
    except (OSError, ValueError, py_compile.PyCompileError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def _reap() -> None:
    _, status = os.wait()
    if status:
        sys.exit("a module could not be compiled")


def write_tar(root: Path, epoch: int, folders: dict[str, tuple[int, int]], to: IO[bytes]) -> None:
    """Sorted tar of a folder: everything belongs to root, has the time `epoch`, and is readable by all.

    `folders` has the modes and owners of others.
    """

    def normal(member: tarfile.TarInfo) -> tarfile.TarInfo:
        executable = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        member.mode, member.uid = folders.get(member.name, (0o777 if member.issym() else executable, 0))
        member.gid, member.uname, member.gname, member.mtime = 0, "", "", epoch
        return member

    with tarfile.open(fileobj=to, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            member = normal(archive.gettarinfo(path, str(path.relative_to(root))))
            member.type = tarfile.REGTYPE if member.islnk() else member.type  # uv and cp may have made hard links
            if member.isfile():
                member.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)


def compress(source: Path, target: Path) -> None:
    """gzip in members of 8 MiB, several at a time: all readers join them."""

    def member(content: bytes) -> bytes:
        return gzip.compress(content, _LEVEL, mtime=0)

    with ThreadPoolExecutor(os.cpu_count()) as pool, target.open("wb") as out:
        for packed in pool.map(member, _chunks(source)):
            out.write(packed)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            yield chunk


def digest(path: Path) -> str:
    found = hashlib.sha256()
    for chunk in _chunks(path):
        found.update(chunk)
    return f"sha256:{found.hexdigest()}"


def main() -> None:
    wanted = json.load(sys.stdin)
    root, target = Path(wanted["root"]), Path(wanted["target"])
    compile_all(root, wanted["sourceless"])
    plain = target.with_suffix(".plain")
    with plain.open("wb") as out:
        write_tar(root, wanted["epoch"], wanted["folders"], out)
    compress(plain, target)
    made = {"diff_id": digest(plain), "digest": digest(target), "compressed": target.stat().st_size}
    print(json.dumps(made | {"size": plain.stat().st_size, "zlib": zlib.ZLIB_RUNTIME_VERSION}))
    plain.unlink()


if __name__ == "__main__":
    main()
