"""The console script `contentgen`: names the extra of a command whose packages are not installed."""

import sys

_OWN = "contentgen_"


def main() -> None:
    """Run `contentgen try`, or one of the commands for administrators."""
    trying = sys.argv[1:2] == ["try"]
    try:
        if trying:
            from contentgen_try import command  # noqa: PLC0415 - its packages may be missing

            sys.exit(command.main(sys.argv[2:]))
        from contentgen_gateway.migration import commands  # noqa: PLC0415 - likewise

        commands.main()
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name.startswith(_OWN):
            raise
        sys.exit(missing(name, "try" if trying else "gateway"))


def missing(package: str, extra: str) -> str:
    """Message for a package that is not installed."""
    return (
        f"error: the Python package {package} is not installed; this command needs the extra [{extra}]: "
        f"pip install 'contentgen[{extra}]'"
    )
