"""Console script of `kubectl contentgen`, which prints errors and sets the exit status."""

import sys

from contentgen_cli import printing
from contentgen_cli.app import app
from contentgen_cli.errors import CliError

_INTERRUPTED = 130


def main() -> None:
    """The console script `kubectl-contentgen`."""
    try:
        app(prog_name="kubectl contentgen")
    except CliError as error:
        printing.say(*f"error: {error}".split("\n"), err=True)
        sys.exit(1)
    except BrokenPipeError:  # such as of `| head`
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
