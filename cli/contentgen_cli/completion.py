"""Shell completion for kubectl: names of commands and resources.

kubectl runs `kubectl_complete-contentgen WORDS…` and expects cobra's protocol: one candidate per line, then `:` and a
directive.
"""

import sys
from collections.abc import Sequence

from contentgen_cli import printing
from contentgen_cli.errors import CliError

_COMMANDS = (
    "adopt", "approve", "cancel", "collect", "cost", "download", "get", "logs", "move", "orphans", "reject", "resume",
    "retry", "suspend", "version", "watch", "why",
)  # fmt: skip
_NAMED = (
    "adopt", "approve", "cancel", "collect", "download", "logs", "move", "reject", "resume", "retry", "suspend",
    "watch", "why",
)  # fmt: skip
_NO_FILES = 4  # cobra's ShellCompDirectiveNoFileComp
_VALUED = ("-n", "--namespace", "--context", "--kubeconfig", "--as", "--stage", "-o", "--output", "--to",
           "--kind", "--version", "--file")  # fmt: skip


def candidates(words: Sequence[str]) -> list[str]:
    """Candidates for the last word, which may be empty."""
    *before, last = words or [""]
    if before and before[-1] in _VALUED:
        return []
    pairs = zip(["", *before], before, strict=False)
    plain = [word for previous, word in pairs if not word.startswith("-") and previous not in _VALUED]
    match plain:
        case []:
            known = list(_COMMANDS)
        case ["get"]:
            known = ["files"]
        case [command] if command in _NAMED:
            known = _resources(before)
        case ["get", "files"]:
            known = _resources(before)
        case _:
            known = []
    return [text for text in known if text.startswith(last)]


def _resources(words: Sequence[str]) -> list[str]:
    from contentgen_cli.cluster import ClusterFlags, connect
    from contentgen_contract.names import Kind

    given = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word in _VALUED}
    namespace = given.get("-n") or given.get("--namespace")
    access = ClusterFlags(given.get("--kubeconfig"), given.get("--context"), namespace, given.get("--as"))
    try:
        with connect(access) as cluster:
            return [item.reference for kind in Kind for item in cluster.all_of(kind)]
    except CliError:
        return []  # completion cannot display errors


def main() -> None:
    """The console script `kubectl_complete-contentgen`."""
    printing.say(*candidates(sys.argv[1:]), f":{_NO_FILES}")


if __name__ == "__main__":
    main()
