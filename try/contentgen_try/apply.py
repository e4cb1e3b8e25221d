"""`kubectl apply` of a user's manifests, with its messages: objects of contentgen, namespaces, Secrets, ConfigMaps."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contentgen_contract.names import API_VERSION, GROUP, Kind
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
            # JSON's types only: YAML's dates become text, as for kubectl.
            bodies = [json.loads(json.dumps(each, default=str)) for each in yaml.safe_load_all(file.read_text())]
        except FileNotFoundError:
            raise BadManifest(f"error: the path {str(file)!r} does not exist") from None
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
            raise BadManifest(f"error: error parsing {file}: {error}") from None
        for body in bodies:
            found += [Document(file, each) for each in _unfolded(body)]
    if not found:
        raise BadManifest("error: no objects passed to apply")
    return tuple(found)


def _unfolded(body: Any) -> list[Any]:
    if body is None:
        return []
    if isinstance(body, dict) and body.get("kind") == "List" and isinstance(body.get("items"), list):
        return list(body["items"])
    return [body]


def refuse_unreachable(documents: Sequence[Document], options: Options) -> None:
    """Raises BadManifest for a resource whose real provider has to fetch a file from the bucket, if that is local."""
    for document in documents:
        provider = "assemblyai" if document.kind == Kind.TRANSCRIPTION else "fal"
        fetched = _FETCHED.get(document.kind, "")
        if document.kind == Kind.IMAGE_GENERATION and not (document.body.get("spec") or {}).get("loras"):
            fetched = ""
        if document.ours and provider in options.cut_off_providers and fetched:
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
    wanted = dict.fromkeys(each.namespace for each in documents if each.namespace)
    body = {"apiVersion": "v1", "kind": "Namespace"}
    return [
        name for name in wanted if cluster.create("/api/v1/namespaces", body | {"metadata": {"name": name}}) is not None
    ]


def refusal(error: Refused, document: Document) -> str:
    """Message of kubectl for a refused object."""
    if error.reason == "Invalid":
        causes = [
            f"{each.get('field')}: {each.get('message')}" if each.get("field") else str(each.get("message"))
            for each in (error.status.get("details") or {}).get("causes") or ()
        ]
        said = causes[0] if len(causes) == 1 else "".join(f"\n* {each}" for each in causes)
        return f'The {document.kind} "{document.name}" is invalid: {said or error}'
    doing = f'error when creating "{document.source}"'
    return f"Error from server ({error.reason or error.code}): {doing}: {error}"
