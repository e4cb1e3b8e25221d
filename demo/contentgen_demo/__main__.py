"""Command line of the demo: `python -m contentgen_demo [--video path-or-url]` in the repository's root; `make demo`."""

import argparse
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from contentgen_cluster.release import CommandFailed
from contentgen_demo import summary
from contentgen_demo.cluster import DemoCluster
from contentgen_demo.errors import DemoError
from contentgen_demo.run import run

_MINUTES = 10
_FILE_WIDTH = 120  # columns, where the output is no terminal


def main() -> int:
    """Run the demo. Exit code 0 if all three resources are Completed and all checks pass, 130 after Ctrl-C, else 1."""
    arguments = _arguments()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_FILE_WIDTH)
    try:
        with ExitStack() as stack:
            cluster = DemoCluster(Path.cwd(), stack)
            done = run(cluster, console, arguments.video, timedelta(minutes=arguments.minutes))
            return summary.show(cluster, console, done)
    except (DemoError, CommandFailed) as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped. The applied resources continue: kubectl get contentgen -A", soft_wrap=True)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="contentgen_demo", description="Apply three samples and check their files.")
    parser.add_argument("--video", metavar="PATH-OR-URL", help="video to use instead of the generated one")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="maximum minutes to wait (default: 10)")
    arguments = parser.parse_args()
    arguments.video = arguments.video or None  # `make demo VIDEO=` passes an empty one
    return arguments


if __name__ == "__main__":
    sys.exit(main())
