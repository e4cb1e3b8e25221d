"""`python -m contentgen_real`: consent first, then pytest. Exit status 2 where nothing was sent."""

import os
import subprocess
import sys
from pathlib import Path

from contentgen_real.consent import CONFIRM, NotAgreed, agreed

FOLDER = Path(__file__).resolve().parents[1]


def main() -> int:
    """The exit status."""
    try:
        agreed(os.environ, lambda text: print(text, flush=True), input if sys.stdin.isatty() else None)
    except (NotAgreed, EOFError) as error:
        print(str(error) or "Not agreed to, so nothing was sent.", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "pytest", "-v", "--color=auto", str(FOLDER), *sys.argv[1:]]
    return subprocess.run(command, env=os.environ | {CONFIRM: "yes"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
