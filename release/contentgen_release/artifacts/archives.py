"""Reproducible archives: sorted members, one time, no owners, modes 644 and 755."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def tar_gz(members: Mapping[str, tuple[bytes, bool]], epoch: int) -> bytes:
    """Gzipped tar of files, given by name as content and whether it is executable."""
    packed = io.BytesIO()
    # The gzip header has neither name nor time.
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(members):
            content, executable = members[name]
            archive.addfile(_member(name, len(content), epoch, executable=executable), io.BytesIO(content))
    return packed.getvalue()


def folder_members(folder: Path, prefix: str = "") -> dict[str, tuple[bytes, bool]]:
    """Members for `tar_gz` of the files of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        f"{prefix}{file.relative_to(folder)}": (file.read_bytes(), bool(file.stat().st_mode & 0o100)) for file in files
    }


def normalized(archive: bytes, epoch: int) -> bytes:
    """The same files of a gzipped tar as a reproducible one."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed:
        return tar_gz(dict(_files(packed)), epoch)


def _files(packed: tarfile.TarFile) -> Iterable[tuple[str, tuple[bytes, bool]]]:
    for member in packed:
        content = packed.extractfile(member)
        if content is not None:
            yield member.name, (content.read(), bool(member.mode & 0o100))


def _member(name: str, size: int, epoch: int, *, executable: bool) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, epoch, 0o755 if executable else 0o644
    return member
