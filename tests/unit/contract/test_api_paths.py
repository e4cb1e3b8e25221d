"""Paths of Kubernetes API requests: format, validation, and that no other module builds paths."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from yarl import URL

from contentgen_contract.api_paths import (
    ACCESS_REVIEWS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    KNOWN,
    PODS,
    ApiPath,
    ApiResource,
    InvalidName,
    api_path,
    equals,
    resource_of,
)
from contentgen_contract.names import Kind

ROOT = Path(__file__).parents[3]
PACKAGES = ("operator", "cli", "worker-image")
OURS = resource_of(Kind.LORA_TRAINING)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (api_path(JOBS, namespace="ns", name="it.x"), "/apis/batch/v1/namespaces/ns/jobs/it.x"),
        (api_path(EVENTS, namespace="ns"), "/api/v1/namespaces/ns/events"),
        (api_path(PODS, namespace="ns", name="p", subresource="log"), "/api/v1/namespaces/ns/pods/p/log"),
        (api_path(OURS), "/apis/contentgen.dev/v1alpha1/loratrainings"),
        (
            api_path(OURS, namespace="n1", name="0", subresource="status"),
            "/apis/contentgen.dev/v1alpha1/namespaces/n1/loratrainings/0/status",
        ),
        (api_path(ACCESS_REVIEWS), "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        (
            api_path(JOBS, namespace="a", query={"limit": 5, "continue": "a&b=c +/?#%2F\n"}),
            "/apis/batch/v1/namespaces/a/jobs?limit=5&continue=a%26b%3Dc%20%2B%2F%3F%23%252F%0A",
        ),
    ],
)
def test_a_path_is_made_of_its_parts(path: ApiPath, expected: str) -> None:
    assert path == expected
    assert str(URL(f"http://h{path}").raw_path) == expected.partition("?")[0]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a\n", "\na", " a", "A", "a_b", "-a", "a-", ".a", "a.",
             "a..b", "é", "٣", "a\0", "\ud800", "a" * 254, 7, None.__class__, ["a"], {"a": 1}, b"a"],
)  # fmt: skip
def test_invalid_name_is_refused(name: str) -> None:
    for make in (
        lambda: api_path(JOBS, namespace="ns", name=name),
        lambda: api_path(JOBS, namespace=name, name="it"),
        lambda: api_path(JOBS, namespace=name),
    ):
        with pytest.raises(InvalidName) as refused:
            make()
        assert len(str(refused.value)) < 200
        assert str(refused.value).isprintable()


def test_a_namespace_is_a_label() -> None:
    assert api_path(JOBS, namespace="a" * 63, name="a" * 253)
    for namespace in ("a.b", "a" * 64):
        with pytest.raises(InvalidName):
            api_path(JOBS, namespace=namespace)


def test_parts_that_do_not_go_together_are_refused() -> None:
    """A name without a namespace would select a collection, or a cluster-scoped object."""
    for make in (
        lambda: api_path(JOBS, name="it"),
        lambda: api_path(ACCESS_REVIEWS, namespace="ns"),
        lambda: api_path(PODS, namespace="ns", subresource="log"),
        lambda: api_path(PODS, namespace="ns", name="p", subresource="exec"),
        lambda: api_path(DEPLOYMENTS, namespace="ns", name="d", subresource="../x"),
        lambda: api_path(ApiResource("v1", "nodes", "Node"), namespace="ns"),
        lambda: api_path(ApiResource("v1/../../api/v1", "pods", "Pod")),
    ):
        with pytest.raises(InvalidName):
            make()


@pytest.mark.parametrize("value", ["", "a,b=c", "a=b", "a b", "a\\", "(a)", "a!", "x" * 64, "\ud800", None])
def test_a_selector_keeps_one_term(value: str) -> None:
    assert equals("involvedObject.uid", "0b-1_c.D") == "involvedObject.uid=0b-1_c.D"
    with pytest.raises(InvalidName):
        equals("involvedObject.uid", value)


def test_every_resource_has_a_path() -> None:
    for each in KNOWN:
        namespace = "ns" if each.namespaced else None
        root = "/api/v1/" if each.api_version == "v1" else f"/apis/{each.api_version}/"
        assert api_path(each, namespace=namespace).startswith(root)
        assert api_path(each, namespace=namespace).endswith(f"/{each.plural}")


# API paths are built in contentgen_contract/api_paths.py only

# The gateway's own routes also begin with /api/, but a word follows instead of a version.
PATHS = re.compile(r"(^|/)api/(v\d|\{)|(^|/)apis(/|$)|(^|/)(namespaces|pods)/")
GENERATED = re.compile(r"(CustomObjects|CoreV\d|BatchV\d|AppsV\d|Authentication|Authorization)\w*Api")


def _texts(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """Strings of a module except docstrings; f-strings with `{` for each value."""
    statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(each.value if isinstance(each, ast.Constant) else "{" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements | parts:
            yield node.lineno, node.value


def _by_hand(source: str) -> list[str]:
    """Places in a module that build a path, or let the generated client build one."""
    nodes = list(ast.walk(ast.parse(source)))
    found = [f"{line}: {text}" for line, text in _texts(nodes) if PATHS.search(text)]
    names = {id_: node.lineno for node in nodes if (id_ := getattr(node, "id", getattr(node, "attr", None)))}
    found += [f"{line}: {name}" for name, line in names.items() if GENERATED.search(str(name))]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    found += [f"{call.lineno}: ApiPath(" for call in calls if getattr(call.func, "id", "") == "ApiPath"]
    return found


def test_no_path_is_built_elsewhere() -> None:
    """mypy accepts only an `ApiPath` in requests."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 150
    places = {str(path.relative_to(ROOT)): _by_hand(path.read_text()) for path in files}
    builder = "operator/contentgen_contract/api_paths.py"
    assert places.pop(builder), "the test sees what it looks for"
    assert {path: found for path, found in places.items() if found} == {}


@pytest.mark.parametrize(
    "line",
    [
        'f"/api/v1/namespaces/{ns}/pods/{name}"',
        'f"/apis/{GROUP}/{VERSION}/x"',
        'x = "/apis/batch/v1/jobs"',
        'x = "/" + "apis" + "/" + y',
        'x = "/api/v1"',
        'f"{base}/namespaces/{ns}"',
        'x = "namespaces"; y = "/".join(["", "apis", x])',
        "client.CustomObjectsApi(api)",
        "ApiPath(given)",
    ],
)
def test_a_path_that_is_built_by_hand_is_seen(line: str) -> None:
    assert _by_hand(f"call({line})" if "=" not in line.split("(", maxsplit=1)[0] else line)


def test_addresses_of_our_own_api_are_no_such_paths() -> None:
    assert _by_hand('f"/api/jobs/{x}"\nx = "/api/collections"\n"/api/v1/ in a docstring"') == []
