"""Static checks of documented commands: targets, options, paths and fields."""

import importlib
import io
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import typer.main
import yaml
from typer.core import TyperGroup
from typer.exceptions import TyperException

from contentgen_contract.names import Phase, Reason
from contentgen_documents import shell
from contentgen_documents.extract import Command, DocumentedManifest
from contentgen_documents.pages import ROOT
from contentgen_try import command as try_command

CHART = ROOT / "charts/contentgen"
_PROGRAMS = {
    "contentgen": "contentgen_gateway.migration.commands",
    "contentgen-worker": "contentgen_worker.command_line",
    "kubectl contentgen": "contentgen_cli.app",
    "contentgen_cluster": "contentgen_cluster.__main__",
    "contentgen_bench": "contentgen_bench.__main__",
}
_OTHERS = frozenset({"base64", "eval", "export", "grep", "kubectl", "mongoexport", "openssl", "tail"})
"""External programs: their commands are executed, or a reviewed exception has the reason."""

_PROMQL = re.compile(r"(sum|rate|increase|histogram_quantile)\b")
Problems = Iterator[str]


class UnknownProgram(Exception):
    """No check exists for this program."""


def problems(command: Command, *, named_only: bool = False) -> list[str]:
    """Problems of a command. `named_only`: a sentence names it, so arguments may be missing."""
    if _PROMQL.match(command.text):
        return list(_promql(command.text))
    text = command.text.replace("…", "example")
    found = [problem for words in shell.calls(text) for problem in _problems(words, named_only=named_only)]
    return found + list(_searched_for(text))


def _problems(words: Sequence[str], *, named_only: bool) -> Problems:
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "python" and arguments[:1] == ["-m"]:
        program, *arguments = arguments[1:]
    elif program == "kubectl" and arguments[:1] == ["contentgen"]:
        program, *arguments = "kubectl contentgen", *arguments[1:]
    if program in _PROGRAMS:
        yield from _options(program, arguments, named_only=named_only)
    elif program in _CHECKS:
        yield from _CHECKS[program](arguments)
    elif program not in _OTHERS:
        raise UnknownProgram(f"{program}: checks.py has no check for it")


# Our own programs


def _options(program: str, arguments: Sequence[str], *, named_only: bool) -> Problems:
    """Errors of the program's own argument parser; the program does not run."""
    if (program, *arguments[:1]) == ("contentgen", "try"):
        yield from _try_options(arguments[1:])
        return
    command: Any = typer.main.get_command(importlib.import_module(_PROGRAMS[program]).app)
    name: str | None = program
    words = list(arguments)
    context = None
    try:
        while words or not isinstance(command, TyperGroup):
            context = command.make_context(name, list(words), parent=context)
            if not isinstance(command, TyperGroup):
                return
            name, command, words = command.resolve_command(context, words)
    except TyperException as error:
        missing = named_only and type(error).__name__ == "MissingParameter"
        if not missing and "does not exist" not in error.message:  # a file of the reader's
            yield f"{program}: {error.format_message()}"


def _try_options(arguments: Sequence[str]) -> Problems:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            try_command.parser().parse_args(arguments)
    except SystemExit:
        yield said.getvalue()


# make


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def variables() -> frozenset[str]:
    """Variables of the Makefile and environment variables of the programs that it calls."""
    own = re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE)
    sources = [path.read_text() for path in (ROOT / "cluster/contentgen_cluster").glob("*.py")]
    return frozenset(own).union(
        *(re.findall(r"environ(?:ment)?(?:\.get\(|\[)\"([A-Z_]+)\"", source) for source in sources)
    )


def _make(arguments: Sequence[str]) -> Problems:
    for word in arguments:
        name, assigns, _ = word.partition("=")
        if name not in (variables() if assigns else targets()):
            yield f"make: no {'variable' if assigns else 'target'} {name}"


def _pytest(arguments: Sequence[str]) -> Problems:
    for path in (word for word in arguments if word.startswith("tests/")):
        if not (ROOT / path).exists():
            yield f"pytest: there is no {path}"


# helm, by the chart's own schema; what it makes of them is tried on the cluster


@cache
def _values_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return schema


def _helm(arguments: Sequence[str]) -> Problems:
    values: dict[str, Any] = {}
    for option, value in itertools.pairwise(arguments):
        if option == "--set":
            _set(values, value)
    if "charts/" in (found := " ".join(arguments)) and not all(
        (ROOT / path).is_dir() for path in re.findall(r"charts/\S+", found)
    ):
        yield f"helm: there is no such chart: {found}"
    for path in re.findall(r"--show-only (\S+)", found):
        if not (CHART / path).is_file():
            yield f"helm: the chart has no {path}"
    yield from value_problems(values)


def _set(values: dict[str, Any], setting: str) -> None:
    """Parsed `--set` with helm's rules: dots separate fields, `{a}` is a list, literals have types."""
    path, _, value = setting.partition("=")
    *parents, last = [part.replace(r"\.", ".") for part in re.split(r"(?<!\\)\.", path)]
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value[1:-1].split(",") if value.startswith("{") else yaml.safe_load(value)


def value_problems(values: Any) -> Problems:
    """Problems of chart values."""
    for error in jsonschema.Draft7Validator(_values_schema()).iter_errors(values):
        yield f"values: {error.json_path}: {error.message}"


# curl, by the description of the gateway's API


def _curl(arguments: Sequence[str]) -> Problems:
    (address,) = [word for word in arguments if re.match(r"https?://|localhost", word)] or [""]
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if not parts.path.startswith("/api/"):
        return
    described = _described(parts.path)
    method = "post" if "-d" in arguments or "--data" in arguments else "get"
    if method not in described:
        yield f"curl: the gateway has no {method.upper()} {parts.path}"
        return
    known = {parameter["name"] for parameter in described[method].get("parameters", ()) if parameter["in"] == "query"}
    for name in set(parse_qs(parts.query)) - known:
        yield f"curl: {parts.path} has no parameter {name}"


@cache
def _api() -> dict[str, Any]:
    paths: dict[str, Any] = json.loads((ROOT / "docs/reference/openapi.json").read_text())["paths"]
    return paths


def _described(path: str) -> dict[str, Any]:
    matching = (found for known, found in _api().items() if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path))
    described: dict[str, Any] = next(matching, {})
    return described


# Programs that no test runs, because the machines lack their requirements


def _docker(arguments: Sequence[str]) -> Problems:
    named = [value for option, value in itertools.pairwise(arguments) if option == "--file"]
    for file in (*(named or ["Dockerfile"]), arguments[-1]):
        if not (ROOT / file).exists():
            yield f"docker: there is no {file}"


def _uv(arguments: Sequence[str]) -> Problems:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"\[(\w+)\]", " ".join(arguments)):
        if extra not in project["optional-dependencies"]:
            yield f"uv: the distribution has no extra {extra}"
    for version in re.findall(r"contentgen-([\d.]+)-py3-none-any\.whl", " ".join(arguments)):
        if version != project["version"]:
            yield f"uv: this is version {project['version']}, not {version}"


_CHECKS: dict[str, Callable[[Sequence[str]], Problems]] = {
    "curl": _curl,
    "docker": _docker,
    "helm": _helm,
    "make": _make,
    "pytest": _pytest,
    "uv": _uv,
}


# Queries of Prometheus, and patterns for grep


def _promql(text: str) -> Problems:
    listed = (ROOT / "docs/reference/metrics.md").read_text()
    for metric in re.findall(r"contentgen_\w+", text):
        if f"`{metric}`" not in listed:
            yield f"there is no metric {metric}"


def _searched_for(text: str) -> Problems:
    """Problems of `grep` patterns: unknown reasons or phases, or texts that no program logs."""
    words = {each.value for each in (*Reason, *Phase)}
    for word in re.findall(r"kubectl get contentgen .*\| grep (\w+)", text):
        if word not in words:
            yield f"no resource's phase or reason is {word}"
    for _, pattern in re.findall(r"kubectl .*\blogs .*\| grep (?:-\w+ )?(['\"])([\w '|]+)\1", text):
        for each_text in pattern.split("|"):
            if not each_text.strip("0123456789 in") or each_text in _logged():
                continue
            yield f"nothing logs {each_text!r}"


@cache
def _logged() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "operator").rglob("*.py")))


# Manifests


@cache
def _kinds() -> dict[str, dict[str, Any]]:
    """Schemas of our kinds by kind; unknown fields are rejected."""
    found = {}
    for path in (ROOT / "crds").glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())["spec"]
        (version,) = definition["versions"]
        found[definition["names"]["kind"]] = _closed(version["schema"]["openAPIV3Schema"])
    return found


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not free and isinstance(schema["properties"], dict):
        closed["additionalProperties"] = False
    return closed


def manifest_problems(manifest: DocumentedManifest) -> list[str]:
    """Problems of a manifest: by CRD for our kinds, by schema for chart values, by structure for other kinds."""
    document = manifest.document
    if schema := _kinds().get(manifest.kind):
        return [
            f"{error.json_path}: {error.message}"
            for error in jsonschema.Draft202012Validator(schema).iter_errors(document)
        ]
    if manifest.kind:
        return (
            []
            if document.get("apiVersion") and document.get("metadata", {}).get("name")
            else ["no apiVersion, or no name"]
        )
    return list(_policy(document) if "Statement" in document else value_problems(document))


def _policy(document: Any) -> Problems:
    """Problems of a bucket policy."""
    for statement in document["Statement"]:
        if statement.keys() != {"Effect", "Resource", "Action"}:
            yield f"a statement of {sorted(statement)}"
        for action in statement["Action"]:
            if not re.fullmatch(r"s3:(Get|Put|List|Delete|Create)[A-Z]\w+|kms:(Decrypt|GenerateDataKey)", action):
                yield f"no action of S3 or KMS: {action}"
