"""`make try-check`: install the wheel in a plain Debian 12 and run `contentgen try` there, as a user without root.

It needs root itself, to make the root file system. Times depend on the machine, so only the results are checked.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key
from contentgen_cluster.commands import ClusterError, run
from contentgen_cluster.images import packages
from contentgen_cluster.paths import cache_root
from contentgen_cluster.pip_settings import pip_conf, pip_settings
from contentgen_demo import wheel
from contentgen_demo.errors import DemoError

_SUITE, _INCLUDED = "bookworm", "python3,python3-venv,ca-certificates"
_CERTIFICATES = Path("/etc/ssl/certs")
_USER = "1000:1000"
_HOME = "home/user"
_GOAL_SECONDS = 60
_MB = 10**6


def main() -> int:
    """Install and run; exit code 0 if the three samples are Completed."""
    try:
        wheel.place(wheel.DATA)
        return check(wheel.build(wheel.DIST))
    except (ClusterError, DemoError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1


def check(built: Path) -> int:
    """Print size and seconds of the installation, and seconds to three Completed resources. Raises ClusterError."""
    debian = _debian()
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        root = Path(scratch) / "root"
        run("cp", "--archive", "--reflink=auto", debian, root)
        home = root / _HOME
        home.mkdir(parents=True)
        shutil.copy(built, home)
        (root / "etc/pip.conf").write_text(_pip_conf())
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        shutil.copy("/etc/hosts", root / "etc/hosts")
        run("chown", "--recursive", _USER, home)
        began = time.monotonic()
        _inside(root, f"python3 -m venv venv && venv/bin/pip install --quiet '{built.name}[try]'")
        installed = time.monotonic() - began
        size = sum(each.lstat().st_size for each in (home / "venv").rglob("*") if each.is_file())
        print(f"installed in {installed:.0f} s, {size / _MB:.0f} MB", flush=True)
        began = time.monotonic()
        _inside(root, "venv/bin/contentgen try --no-serve")
        print(f"three Completed in {time.monotonic() - began:.0f} s; the goal is {_GOAL_SECONDS} s", flush=True)
    return 0


def _debian() -> Path:
    """Root file system with Python, made once."""
    packages.ensure(["debootstrap"])
    cache = ContentCache(cache_root())
    key = content_key(_SUITE, _INCLUDED)
    made = ("debootstrap", "--variant=minbase", f"--include={_INCLUDED}", _SUITE)
    return cache.entry("try-debian", key, lambda target: run(*made, target))


def _pip_conf() -> str:
    settings = pip_settings(run(sys.executable, "-m", "pip", "config", "list"))
    settings.pop("find-links", None)  # a folder of this machine
    return pip_conf(settings)


def _inside(root: Path, command: str) -> None:
    """Run a shell command in the root file system, without root, with its output shown. Raises ClusterError."""
    mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    mounts += [f"mount --bind {_CERTIFICATES} {root}{_CERTIFICATES}"] if _CERTIFICATES.is_dir() else []
    entered = f"chroot --userspec={_USER} {root} /bin/sh -c 'cd /{_HOME} && exec \"$@\"' sh"
    script = f'{" && ".join(mounts)} && exec {entered} /bin/sh -c "$1"'
    # A mount namespace of its own: the mounts end with it, and nothing below the folder is removed through them.
    unshared = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script, "sh", command)
    kept = {name: os.environ[name] for name in ("TERM", "LANG") if name in os.environ}
    environment = kept | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": f"/{_HOME}"}
    done = subprocess.run(unshared, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ClusterError(f"failed ({done.returncode}) in a plain Debian 12: {command}")


if __name__ == "__main__":
    sys.exit(main())
