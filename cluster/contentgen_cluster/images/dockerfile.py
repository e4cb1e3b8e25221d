"""Configuration of an image, read from the last stage of its Dockerfile, so that both builds have the same."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class UnknownInstruction(ValueError):
    """An instruction of the last stage that this build would not follow."""


def configuration(text: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """OCI image configuration (`config`) of a Dockerfile's last stage, with these build arguments.

    Labels without a value are left out: not every build knows its revision.
    """
    known: dict[str, str] = {}
    config: dict[str, Any] = {"Env": [], "Labels": {}}
    for instruction, rest in last_stage(text):
        match instruction:
            case "COPY":
                continue
            case "ARG":
                name, _, default = rest.partition("=")
                known[name] = arguments.get(name, default)
            case "ENV":
                config["Env"] += [f"{name}={_filled(value, known)}" for name, value in _pairs(rest)]
            case "LABEL":
                config["Labels"] |= {name: _filled(value, known) for name, value in _pairs(rest)}
            case "USER":
                config["User"] = rest
            case "ENTRYPOINT" | "CMD":
                config[instruction.capitalize()] = json.loads(rest)
            case "EXPOSE":
                config["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
            case "VOLUME":
                config["Volumes"] = {rest: {}}
            case _:
                raise UnknownInstruction(f"{instruction} in the last stage of a Dockerfile")
    config["Labels"] = {name: value for name, value in sorted(config["Labels"].items()) if value}
    return config


def last_stage(text: str) -> list[tuple[str, str]]:
    """Instructions after the last FROM, with their arguments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    logical = "\n".join(lines).replace("\\\n", " ").splitlines()
    instructions = [
        (first.upper(), rest.strip()) for first, _, rest in (line.partition(" ") for line in logical) if first
    ]
    start = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start + 1 :]


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = [part.partition("=") for part in shlex.split(text)]
    return [(name, value) for name, _, value in pairs]


def _filled(value: str, known: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: known.get(found[1] or found[2], ""), value)
