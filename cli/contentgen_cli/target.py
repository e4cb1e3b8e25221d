"""Names of resources on the command line: `lora/NAME`, `LoraTraining NAME`, or NAME. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from contentgen_cli.errors import CliError
from contentgen_contract.names import GROUP, Kind


@dataclass(frozen=True)
class ResourceName:
    """A name, and the kind if it was given."""

    name: str
    kind: Kind | None = None


def parse(words: Sequence[str]) -> ResourceName:
    """One resource from command-line words. Raises CliError."""
    match list(words):
        case [word] if "/" in word:
            kind, _, name = word.partition("/")
        case [name]:
            return ResourceName(_checked(name))
        case [kind, name]:
            pass
        case _:
            raise CliError(f"{' '.join(words)!r}: expected NAME, KIND/NAME or KIND NAME")
    return ResourceName(_checked(name), kind_of(kind))


def parse_all(words: Sequence[str]) -> list[ResourceName]:
    """Several resources as in kubectl: NAME or KIND/NAME each, or one KIND and its NAMEs. Raises CliError."""
    first, *names = words
    if names and _is_kind(first):
        return [ResourceName(_checked(name), kind_of(first)) for name in names]
    return [parse([word]) for word in words]


def _is_kind(word: str) -> bool:
    try:
        kind_of(word)
    except CliError:
        return False
    return True


def kind_of(word: str) -> Kind:
    """Kind by the names that kubectl accepts. Raises CliError."""
    asked = word.lower().removesuffix(f".{GROUP}")
    for kind in Kind:
        if asked in (kind.lower(), kind.plural, kind.short_name):
            return kind
    known = ", ".join(f"{kind.short_name} ({kind.value})" for kind in Kind)
    raise CliError(f"{word!r} is not a kind; expected one of {known}")


def _checked(name: str) -> str:
    if not name or "/" in name:
        raise CliError(f"{name!r} is not a resource name; expected NAME, KIND/NAME or KIND NAME")
    return name


def short_reference(kind: Kind, name: str) -> str:
    """Short kind and name: `lora/avatar`."""
    return f"{kind.short_name}/{name}"
