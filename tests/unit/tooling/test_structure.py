"""Structure of the code: size of folders, module cycles, class names. `make lint` checks the layers (.importlinter)."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = (
    "operator", "worker-image", "cli", "sandbox", "demo", "bench", "cluster", "release", "try", "tools",
    "tests/cluster", "tests/documents", "tests/hostile", "tests/media", "tests/real", "tests/simulation",
)  # fmt: skip
MOST_MODULES = 16
OPENAPI = "a schema of the gateway's OpenAPI document, whose names are public"
SAME_NAME = {
    "Dataset": OPENAPI,
    "Download": OPENAPI,
    "Lora": OPENAPI,
    "Outcome": OPENAPI,
    "Shot": OPENAPI,
    "Settings": "the environment of one program; each program has its own",
}
"""Class names that more than one module has, and why."""
TRY = "contentgen_try."
"""A program with an API server of its own: class names (Store, Caller, Rule) may be those of other packages."""
REHEARSAL = "contentgen_simulation.rehearsal.world."
"""Its modules name the world that is made of them, for type checkers alone."""


@cache
def modules() -> dict[str, Path]:
    """Source files by dotted module name; a package is its __init__.py."""
    found = {}
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            parts = path.relative_to(ROOT / source).with_suffix("").parts
            if parts[0].startswith("contentgen_") or source == "tools":
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports_and_classes() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Modules of ours that each module imports, also inside functions and for type checkers alone; and the modules that
    have a class of each name.
    """
    known, found, classes = modules(), defaultdict(set), defaultdict(set)
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        for node in run(tree) if name.startswith(REHEARSAL) else ast.walk(tree):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & known.keys()
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found[name] |= {inner if inner in known else node.module} & known.keys()
            elif isinstance(node, ast.ClassDef) and not name.startswith(TRY):
                classes[node.name].add(name)
        found[name].discard(name)
    return found, classes


def run(tree: ast.AST) -> Iterator[ast.AST]:
    """AST nodes of a module, except under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run(node)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_the_import_contracts_name_every_root_package() -> None:
    """Modules and folders need no line in .importlinter; a root package that is missing there is not checked."""
    config = ConfigParser()
    config.read(ROOT / ".importlinter")
    lists = [config["importlinter"]["root_packages"]]
    lists += [config["importlinter:contract:programs"]["layers"], config["importlinter:contract:siblings"]["ancestors"]]
    packages = sorted({name.split(".")[0] for name in modules() if name.startswith("contentgen_")})
    assert [sorted(rows.replace("|", " ").split()) for rows in lists] == [packages] * 3


def test_a_package_folder_has_at_most_16_modules() -> None:
    """Folders of tests too, which are no packages."""
    sizes = Counter(path.parent for path in {*modules().values(), *(ROOT / "tests").rglob("*.py")})
    assert len(sizes) > 50
    assert {str(folder.relative_to(ROOT)): count for folder, count in sizes.items() if count > MOST_MODULES} == {}


def test_no_module_imports_itself_through_others() -> None:
    graph, _ = imports_and_classes()
    assert sum(map(len, graph.values())) > 2000
    assert cycles(graph) == []


def test_a_cycle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_a_class_name_belongs_to_one_module() -> None:
    _, where = imports_and_classes()
    several = {name: sorted(found) for name, found in where.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in SAME_NAME} == {}
    assert SAME_NAME.keys() - several.keys() == set(), "reasons that are not needed any more"
