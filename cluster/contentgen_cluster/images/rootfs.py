"""Root file systems of our images, made of Debian packages, wheels and our modules, without running any of them.

There are three layers: Debian's files, the Python packages, and ours. Tables have what is left out, each entry with its
reason; a test compares the rest with the lists of files that the packages have.
"""

import fnmatch
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tarfile import TarFile, TarInfo

from contentgen_cluster.cache import ContentCache, files_of
from contentgen_cluster.commands import run
from contentgen_cluster.images.debian import BaseLock, fetch, members
from contentgen_cluster.images.elf import loaded_parts, without_library
from contentgen_cluster.images.references import LICENCES, ImageRecipe
from contentgen_cluster.paths import REPO

PYTHON = "3.11"
DIST_PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"
"""Debian's Python searches it by itself."""
OURS = "opt/contentgen"
_USER = 65532
_TEMPORARY = ("tmp", "var/tmp")
_PLATFORMS = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}  # Debian 12 has glibc 2.36
_MERGED = ("bin", "lib", "lib64", "sbin")
"""Top folders that Debian 12 has below usr."""

DEBIAN_LEFT_OUT = {
    "usr/share/doc/*/*[!t]": "documentation, except for files named copyright",
    "usr/share/doc/*/*[!h]t": "likewise",
    "usr/share/info/*": "documentation",
    "usr/share/lintian/*": "rules for Debian's own checks",
    "usr/share/locale/*": "translations of programs that are not in the image",
    "usr/share/man/*": "documentation",
    "usr/share/ca-certificates/*": "its certificates are in /etc/ssl/certs/ca-certificates.crt",
    "usr/sbin/*": "programs for administrators",
    "usr/bin/[!p]*": "no program but Python",
    "usr/bin/p[!y]*": "likewise",
    "usr/share/base-files/*": "templates for maintainer scripts",
    "usr/share/pixmaps/*": "for desktops",
    "usr/share/applications/*": "for desktops",
    "usr/share/binfmts/*": "for the kernel's table of interpreters",
    "usr/share/readline/*": "for shells",
    "etc/ca-certificates/*": "for update-ca-certificates",
    "etc/update-motd.d/*": "for logins",
    "etc/motd": "for logins",
    "etc/issue*": "for logins",
    "etc/profile.d/*": "for shells",
    "etc/ld.so.conf.d/*": "for ldconfig; the loader knows its folders",
    "usr/lib/*/gconv/*": "character sets of iconv; Python, Java and FFmpeg have their own or use none",
    "usr/lib/python3.11/pydoc_data/*": "texts of help()",
}
"""Files of Debian packages that no image has."""

PACKAGES_LEFT_OUT = {
    "bin/*": "console scripts; ours are in /usr/local/bin",
    "*.pyi": "for type checkers",
    "*.pxd": "for compilers",
    "*.pyx": "for compilers",
    "*.[ch]": "for compilers",
    "*.hpp": "for compilers",
    "*/tests/*": "tests of the packages themselves",
    "boto3/data/[!s]*": "resources of services other than S3; only clients are made",
    "boto3/data/s[!3]*": "likewise",
    "boto3/examples/*": "documentation",
    "kubernetes/aio/setup.py": "for packaging",
    "opencv_python_headless.libs/libopenblas*": "`UNLINKED`",
    "opencv_python_headless.libs/libgfortran*": "a library of OpenBLAS",
    "opencv_python_headless.libs/libquadmath*": "a library of OpenBLAS",
    "numpy/_core/include/*": "for compilers",
    "numpy/_core/lib/*": "for compilers",
    "numpy/f2py/*": "a compiler front end",
    "numpy/random/lib/*": "for compilers",
    "google/protobuf/*.proto": "for compilers",
}
"""Files of Python packages that no image has."""
_KEPT = {
    r"botocore/data/([^/]+)/": ("s3", "sts", "sso", "sso-oidc", "signin"),  # where credentials may come from, and S3
    r"cv2/data/([^/]+\.xml)$": ("haarcascade_frontalface_alt2.xml",),
    r"pygments/lexers/([^/]+)$": ("__init__.py", "_mapping.py", "python.py", "special.py"),  # rich's, for tracebacks
}
"""Folders of data of which the images have these names alone."""
UNLINKED = {"cv2/cv2.abi3.so": ("libopenblas", r"cblas_[sdcz]gemm|[sd](ge|po)[a-z0-9]+_")}
"""Libraries of which no function is called, and these functions: OpenCV's linear algebra (solve, invert, gemm)."""

SOURCELESS = (f"{DIST_PACKAGES}/kubernetes/client", f"{DIST_PACKAGES}/kubernetes/aio/client")
"""Generated packages of 1,900 modules and 73 MB of source, of which the images have the byte code alone."""


def base_tree(cache: ContentCache, lock: BaseLock, architecture: str, root: Path) -> None:
    """Debian's files, and those that its maintainer scripts would write."""
    certificates: list[tuple[str, bytes]] = []
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "etc", "opt", "proc", "sys", "dev", "run", "root"):
        (root / folder).mkdir(parents=True)
    for name in _MERGED:
        (root / name).symlink_to(f"usr/{name}")
    for package in lock.of(architecture):
        content = fetch(cache, package, lock.snapshot).read_bytes()
        with members(content, "control") as control:
            # Image scanners read the packages of images without dpkg from this folder.
            _write(root / "var/lib/dpkg/status.d" / package.name, _content(control, "./control"))
        with members(content, "data") as data:
            _unpack(data, root)
            certificates += [
                (getmember.name, _content(data, getmember.name))
                for getmember in data.getmembers()
                if getmember.isfile() and getmember.name.startswith("./usr/share/ca-certificates/")
            ]
    _write(root / "etc/ssl/certs/ca-certificates.crt", b"".join(content for _, content in sorted(certificates)))
    (root / "usr/lib/ssl").mkdir(exist_ok=True)
    _link(root / "usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")
    _link(root / "usr/lib/ssl/certs", "/etc/ssl/certs")
    for name in ("python3", "python"):
        _link(root / "usr/bin" / name, f"python{PYTHON}")
    _write(root / "etc/passwd", f"root:x:0:0::/root:\ncontentgen:x:{_USER}:{_USER}::/tmp:\n".encode())
    _write(root / "etc/group", f"root:x:0:\ncontentgen:x:{_USER}:\n".encode())
    _write(root / "etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    for name in _TEMPORARY:
        (root / name).mkdir(parents=True, exist_ok=True)


def packages_tree(image: ImageRecipe, architecture: str, root: Path) -> None:
    """The Python packages of an image: wheels for its platform, verified by the locks' hashes."""
    target = root / DIST_PACKAGES
    target.mkdir(parents=True)
    wanted = [f"--requirement={file}" for file in image.files()[0]]
    platform = (f"--python-platform={_PLATFORMS[architecture]}", f"--python-version={PYTHON}")
    # Copies: other files would be links to uv's cache, and some are changed here.
    how = ("--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-config", "--link-mode=copy")
    run(_uv(), "pip", "install", *how, *platform, f"--target={target}", *wanted)
    for path in sorted(target.rglob("*"), reverse=True):
        name = str(path.relative_to(target))
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif package_file_left_out(name) or name == ".lock":  # uv's lock of the folder
            path.unlink()
        elif path.name == "RECORD":
            path.write_text(without_scripts(path.read_text()))
        elif ".so" in path.name:
            _slim(path, UNLINKED.get(name))


def application_tree(image: ImageRecipe, built: Mapping[Path, str], root: Path) -> None:
    """Our modules, programs, licences and folders; `built` has the places of other files and folders."""
    places = {folder: folder.name for folder in image.files()[1]}
    places |= {REPO / source: place for source, place in image.data.items()}
    for folder, place in places.items():
        for file in files_of(folder):
            if not file.name.endswith((".pyc", ".pyo")):
                _write(root / OURS / place / file.relative_to(folder), file.read_bytes())
    for text in LICENCES:
        _write(root / "usr/share/doc/contentgen" / text, (REPO / text).read_bytes())
    for name, module in image.scripts.items():
        # -P: no module is imported from the folder of the program or from the working directory.
        script = f"#!/usr/bin/python{PYTHON} -P\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
        _write(root / "usr/local/bin" / name, script.encode(), 0o755)
    for path, target_folder in built.items():
        for file in files_of(path):
            target = root / target_folder / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    for name in image.writable:
        (root / name).mkdir(parents=True)


def special_folders(image: ImageRecipe | None = None) -> dict[str, tuple[int, int]]:
    """Modes and owners of the folders that are not root's alone: of the base layer, or of an image's last one."""
    if image is None:
        return dict.fromkeys(_TEMPORARY, (0o1777, 0))
    return dict.fromkeys(image.writable, (0o775, _USER))  # of group 0, for any user (OpenShift)


def package_file_left_out(name: str) -> bool:
    """Whether a file, by its path in dist-packages, is not in the image."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in PACKAGES_LEFT_OUT):
        return True
    named = [(re.match(pattern, name), kept) for pattern, kept in _KEPT.items()]
    return any(found[1] not in kept for found, kept in named if found)


def without_scripts(record: str) -> str:
    """A package's list of files without its console scripts, whose hashes name this machine's Python."""
    return "".join(line for line in record.splitlines(keepends=True) if not line.startswith(("bin/", "../")))


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else "uv"


def _unpack(data: TarFile, root: Path) -> None:
    for member in data.getmembers():
        path = _merged(member.name)
        if any(fnmatch.fnmatchcase(str(path), pattern) for pattern in DEBIAN_LEFT_OUT):
            continue
        target = root / path
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif member.issym():
            _link(target, member.linkname)
        elif member.islnk():
            _write(target, _content(data, member.linkname), member.mode)
        elif member.isfile():
            _write(target, _content(data, member), member.mode)


def _merged(name: str) -> PurePosixPath:
    """Path in the image of a package's file; Debian 12 has /lib and others below /usr."""
    path = PurePosixPath(name.removeprefix("./").removeprefix("/"))
    if ".." in path.parts:
        raise ValueError(f"a Debian package has the path {name}")
    return PurePosixPath("usr", path) if path.parts[:1] and path.parts[0] in _MERGED else path


def _content(archive: TarFile, member: str | TarInfo) -> bytes:
    opened = archive.extractfile(member)
    if opened is None:
        raise ValueError(f"{member} is no file")
    with opened:
        return opened.read()


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if mode & 0o100 else 0o644)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _slim(library: Path, unlinked: tuple[str, str] | None) -> None:
    content = library.read_bytes()
    library.write_bytes(loaded_parts(without_library(content, *unlinked) if unlinked else content))
