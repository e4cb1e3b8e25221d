"""`kubectl apply` of a user's manifests, with its messages: objects of contentgen, namespaces, Secrets, ConfigMaps."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contentgen_contract.names import API_VERSION, GROUP, Kind
from contentgen_contract.resources.providers import PROVIDERS
from contentgen_try.cluster import Body, Cluster, Refused
from contentgen_try.options import Options

_KEPT = ("labels", "annotations")
OURS = frozenset(kind.value for kind in Kind)
"""Kinds of contentgen."""
_CORE = {"Namespace": "namespaces", "Secret": "secrets", "ConfigMap": "configmaps"}
_FETCHED: dict[str, str] = {
    Kind.LORA_TRAINING: "the training set",
    Kind.IMAGE_GENERATION: "the LoRA",
    Kind.TRANSCRIPTION: "the sound",
}
_STRICT = {"fieldValidation": "Strict", "fieldManager": "contentgen-try"}
DEFAULT_NAMESPACE = "default"


class BadManifest(Exception):
    """A file that cannot be read, or objects that are refused."""


@dataclass(frozen=True)
class Document:
    """Object of a file; its properties need one that `checks` has found to be valid."""

    source: Path
    body: Any

    @property
    def kind(self) -> str:
        """Kind."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Namespace; empty for a Namespace."""
        return "" if self.kind == "Namespace" else str(self.body["metadata"].get("namespace") or DEFAULT_NAMESPACE)

    @property
    def ours(self) -> bool:
        """Whether it is a resource of contentgen."""
        return self.kind in OURS

    @property
    def collection(self) -> str:
        """Path of its collection."""
        if self.ours:
            return f"/apis/{API_VERSION}/namespaces/{self.namespace}/{Kind(self.kind).plural}"
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"/api/v1{within}/{_CORE[self.kind]}"

    @property
    def path(self) -> str:
        """Path of the object."""
        return f"{self.collection}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind.lower()}{f'.{GROUP}' if self.ours else ''}/{self.name}"


def read(files: Sequence[Path]) -> tuple[Document, ...]:
    """Objects of the files, Lists unfolded; they are not checked. Raises BadManifest for a file."""
    found: list[Document] = []
    for file in files:
        try:
            bodies = _parsed(file.read_text())
        except FileNotFoundError:
            raise BadManifest(f"error: the path {str(file)!r} does not exist") from None
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
            raise BadManifest(f"error: error parsing {file}: {error}") from None
        for body in bodies:
            found += [Document(file, each) for each in _unfolded(body)]
    if not found:
        raise BadManifest("error: no objects passed to apply")
    return tuple(found)


_TEXT = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: dates and 1:30 are text, 1e3 is a number, a key is set once."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in its base
        first: [each for each in listed if each[0].rpartition(":")[2] not in ("int", "float", "timestamp")]
        for first, listed in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[str] = []

    def note(self, node: yaml.Node, problem: str) -> None:
        """Note an error, to be raised with the others of the file."""
        self.problems.append(f"line {node.start_mark.line + 1}: {problem}")

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in seen:
                self.note(key, f"key {key.value!r} is already set")
            seen.add(key.value)
            key.tag = _TEXT  # as in JSON
        return node

    def integer(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "").lower()
        octal = re.fullmatch(r"([-+]?)0o?([0-7]+)", text)
        return int(octal[1] + octal[2], 8) if octal else int(text, 0)

    def number(self, node: yaml.ScalarNode) -> float | int:
        number = float(re.sub(r"\.(?=inf|nan)", "", node.value.replace("_", "").lower()))
        if not math.isfinite(number):
            self.note(node, f"{node.value} is no number of JSON")
            return 0
        return int(number) if number.is_integer() else number  # as JSON has it

    def text(self, node: yaml.ScalarNode) -> str:
        return str(node.value)

    def binary(self, node: yaml.ScalarNode) -> str:
        return bytes(self.construct_yaml_binary(node)).decode(errors="replace")


_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", re.ASCII)
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII
)
for _tag, _pattern, _read in (("int", _INTEGER, _Loader.integer), ("float", _NUMBER, _Loader.number)):
    _whole = re.compile(f"^(?:{_pattern.pattern})$", re.ASCII)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, list("-+0123456789."))
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _read)
_Loader.add_constructor("tag:yaml.org,2002:binary", _Loader.binary)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.text)


def _parsed(text: str) -> list[Any]:
    """JSON of the documents. Raises ValueError, TypeError or YAMLError, with all errors of the values."""
    loader = _Loader(text)
    try:
        bodies = []
        while loader.check_data():  # type: ignore[no-untyped-call]
            bodies.append(loader.get_data())
    finally:
        loader.dispose()
    if loader.problems:
        raise ValueError("; ".join(loader.problems))
    listed = json.dumps(bodies, ensure_ascii=False, allow_nan=False)  # a set is no JSON
    listed.encode()  # nor is half of a pair of surrogates
    found: list[Any] = json.loads(listed)
    return found


def _unfolded(body: Any) -> list[Any]:
    if body is None:
        return []
    if isinstance(body, dict) and body.get("kind") == "List" and isinstance(body.get("items"), list):
        return list(body["items"])
    return [body]


def refuse_unreachable(documents: Sequence[Document], options: Options) -> None:
    """Raises BadManifest for a resource whose real provider has to fetch a file from the bucket, if that is local."""
    for document in documents:
        fetched = _FETCHED.get(document.kind, "")
        if document.kind == Kind.IMAGE_GENERATION and not (document.body.get("spec") or {}).get("loras"):
            fetched = ""
        if fetched and PROVIDERS.of_kind(Kind(document.kind)) in options.cut_off_providers:
            raise BadManifest(
                f"error: {document}: the provider fetches {fetched} from the bucket, and cannot reach this computer: "
                "name a bucket of yours with --bucket, and set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION"
            )


def apply(cluster: Cluster, document: Document) -> str:
    """Create or change an object; returns kubectl's word: created, configured or unchanged. Raises BadManifest."""
    try:
        current = cluster.find(document.path)
        if current is None:
            cluster.call("POST", document.collection, document.body, query=_STRICT)
            return "created"
        changed = cluster.call("PUT", document.path, merged(current, document.body), query=_STRICT)
    except Refused as error:
        raise BadManifest(refusal(error, document)) from None
    same = changed["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"]
    return "unchanged" if same else "configured"


def merged(current: Body, wanted: Body) -> Body:
    """Object to write: the manifest's content, with the metadata and the status that exist."""
    meta = dict(current["metadata"])
    for name in _KEPT:
        if name in wanted["metadata"]:
            meta[name] = (meta.get(name) or {}) | (wanted["metadata"][name] or {})
    rest = {key: value for key, value in wanted.items() if key not in ("metadata", "status")}
    status = {"status": current["status"]} if "status" in current else {}
    return rest | {"metadata": meta} | status


def ensure_namespaces(cluster: Cluster, documents: Sequence[Document]) -> list[str]:
    """Create missing namespaces of the documents; returns their names. Raises Refused."""
    wanted = dict.fromkeys(document.namespace for document in documents if document.namespace)
    body = {"apiVersion": "v1", "kind": "Namespace"}
    return [
        name for name in wanted if cluster.create("/api/v1/namespaces", body | {"metadata": {"name": name}}) is not None
    ]


def refusal(error: Refused, document: Document) -> str:
    """Message of kubectl for a refused object."""
    if error.reason == "Invalid":
        causes = [
            f"{cause.get('field')}: {cause.get('message')}" if cause.get("field") else str(cause.get("message"))
            for cause in (error.status.get("details") or {}).get("causes") or ()
        ]
        said = causes[0] if len(causes) == 1 else "".join(f"\n* {cause}" for cause in causes)
        return f'The {document.kind} "{document.name}" is invalid: {said or error}'
    doing = f'error when creating "{document.source}"'
    return f"Error from server ({error.reason or error.code}): {doing}: {error}"
