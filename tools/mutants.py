"""Mutants of the defences around a purchase: `make mutants` shows that the named test fails for each.

A `mutants.toml` in a folder of tests/unit lists the mutants that its tests kill:

    policy = true  # all of the file are of the policies (`--policies`); also a field of one row

    [[mutant]]
    name = "queue: a place that is not used is kept"
    at = "operator/contentgen_operator/queue/payment_queue.py::PaymentQueue._start"  # a file alone: its top level
    old = 'until <= now'
    new = 'until < 0'  # empty: `old` is removed
    test = "test_queue.py::test_a_place_that_is_not_used_is_given_back"
    sample = true  # the cheap one of its policy that `make test` runs (`--sample`)

`old` is an expression, elements of a list, arguments, statements, or cases of a `match`. It is compared as syntax: line
breaks, quotes and comments don't matter. It must be in the function, class or top level that `at` names exactly once;
definitions inside that have names of their own (`outer.inner`). A mutant changes a temporary copy of the tree.
"""

import argparse
import ast
import contextlib
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import textwrap
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_COPIED = ("operator", "cli", "facts", "tests/unit", "tests/simulation", "pyproject.toml")
_ON_PATH = ("operator", "tests/simulation", "tools", "worker-image", "sandbox", "cli")
# Imported once and inherited by fork: most of a test's time is their import.
_PRELOADED = (
    "pytest", "_pytest.assertion.rewrite", "pydantic", "pymongo", "mongomock", "boto3", "botocore.session",
    "kubernetes.aio", "httpx", "fal_client", "assemblyai", "stamina", "kopf", "fastapi", "uvicorn", "cryptography.x509",
    "prometheus_client",
)  # fmt: skip
_SECONDS = 600.0
_NO_VERDICT = 70  # an exit status that pytest has not
KILLED, SURVIVED, ENDLESS = "killed", "SURVIVED", "killed (endless)"

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Nodes = list[ast.AST]


@dataclass(frozen=True)
class Mutant:
    """`old` in `scope` (empty: the top level) of `file` becomes `new`, and `test`, an id of pytest, fails."""

    name: str
    file: str
    scope: str
    old: str
    new: str
    test: str
    policy: bool = False
    sample: bool = False

    def mutated(self, text: str) -> str:
        """The file's text with the change, without comments. Raises ValueError unless `old` is there exactly once."""
        tree = ast.parse(text)
        scopes = [node for name, node in _scopes(tree) if name == self.scope]
        readings = list(_readings(self.old, self.new))
        places = [place for scope in scopes for reading in readings for place in _places(scope, *reading)]
        if len(scopes) != 1 or len(places) != 1:
            found = f"{len(scopes)} definitions" if len(scopes) != 1 else f"{len(places)} times {self.old!r}"
            rows = f"{self.test.rpartition('/')[0]}/mutants.toml"
            raise ValueError(f"{rows}: {self.name}: {self.file}::{self.scope} has {found}, expected one")
        places[0]()
        return ast.unparse(tree)


def table(root: Path = ROOT) -> tuple[Mutant, ...]:
    """Rows of each mutants.toml below tests/unit. Raises TypeError for a key that is unknown or missing."""
    return tuple(row for path in sorted((root / "tests/unit").rglob("mutants.toml")) for row in _rows(path, root))


def _rows(path: Path, root: Path) -> Iterator[Mutant]:
    given = tomllib.loads(path.read_text())
    folder, policy = path.parent.relative_to(root), given.get("policy", False)
    for row in given["mutant"]:
        file, _, scope = row.pop("at").partition("::")
        yield Mutant(**({"policy": policy} | row | {"file": file, "scope": scope, "test": f"{folder}/{row['test']}"}))


def _readings(old: str, new: str) -> Iterator[tuple[_Nodes, _Nodes]]:
    """`old` and `new` as elements of a list or arguments, as statements, as cases of a `match`: what they parse as."""
    for read in (_elements, _statements, _cases):
        with contextlib.suppress(SyntaxError):
            before, after = read(old), read(new)
            if not [type(each) for each in before] == [type(each) for each in after] == [ast.Expr]:  # as elements
                yield before, after


def _elements(code: str) -> _Nodes:
    call = ast.parse(f"_(\n{code}\n)", mode="eval").body
    return [*call.args, *call.keywords] if isinstance(call, ast.Call) else []


def _statements(code: str) -> _Nodes:
    return [*ast.parse(code).body]


def _cases(code: str) -> _Nodes:
    match ast.parse("match _:\n" + textwrap.indent(code, " ")).body:
        case [ast.Match(cases=cases)]:
            return [*cases]
    raise SyntaxError(code)


def _scopes(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Definitions by qualified name, the module under "", functions inside functions as `outer.inner`."""
    yield prefix, tree
    for node in _own(tree):
        for each_node in ast.iter_child_nodes(node):
            if isinstance(each_node, _DEFINITIONS):
                yield from _scopes(each_node, f"{prefix}.{each_node.name}".lstrip("."))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The node and those below it, except definitions and what is inside them."""
    yield node
    for each_node in ast.iter_child_nodes(node):
        if not isinstance(each_node, _DEFINITIONS):
            yield from _own(each_node)


def _places(scope: ast.AST, old: _Nodes, new: _Nodes) -> Iterator[Callable[[], None]]:
    """Replacements of `old` by `new`, one for each place where `old` is and `new` may be."""
    for node in _own(scope):
        for field, value in ast.iter_fields(node):
            if isinstance(value, list):
                if len(old) == len(new) or not isinstance(node, ast.Dict | ast.Compare):  # their lists are parallel
                    for start in range(len(value) - len(old) + 1):
                        if _same(value[start : start + len(old)], old):
                            yield partial(value.__setitem__, slice(start, start + len(old)), new)
            elif len(new) == 1 and _same([value], old):
                yield partial(setattr, node, field, new[0])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, ast.AST):
        return type(one) is type(other) and all(
            _same(getattr(one, field), getattr(other, field)) for field in one._fields
        )
    return type(one) is type(other) and bool(one == other)


def verdict(mutant: Mutant) -> str:
    """Run the mutant's test in a copy of the tree. Raises RuntimeError where there is no verdict."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        _copy(tree)
        if not mutant.file.startswith(_COPIED):
            raise ValueError(f"{mutant.name}: {mutant.file} is a link to the working tree's")
        file = tree / mutant.file
        file.write_text(mutant.mutated(file.read_text()))
        child = multiprocessing.get_context("fork").Process(target=_test, args=(tree, mutant.test))
        child.start()
        child.join(_SECONDS)
        if child.is_alive():
            child.kill()
            return ENDLESS
        if child.exitcode not in (0, 1):
            raise RuntimeError(f"{mutant.name}: pytest ended with {child.exitcode}:\n{(tree / 'log').read_text()}")
        return KILLED if child.exitcode == 1 else SURVIVED


def check(tests: list[str]) -> None:
    """Run the tests without a mutant. Raises RuntimeError where they do not pass in a copy of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        _copy(Path(folder))
        child = multiprocessing.get_context("fork").Process(target=_test, args=(Path(folder), *tests))
        child.start()
        child.join()
        if child.exitcode != 0:
            said = (Path(folder) / "log").read_text()
            raise RuntimeError(f"without a mutant, pytest ended with {child.exitcode}:\n{said}")


def _copy(tree: Path) -> None:
    """Copies of what may be changed or asserts; links to everything else."""
    for name in _COPIED:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    for folder in (ROOT, ROOT / "tests"):
        for path in folder.iterdir():
            target = tree / path.relative_to(ROOT)
            if not target.exists() and not path.name.startswith("."):
                target.symlink_to(path)


def _test(tree: Path, *tests: str) -> None:
    """In the child: the modules come from the copy."""
    output = os.open(tree / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(tree)
    sys.path[:0] = [str(tree / each) for each in _ON_PATH]
    code = _NO_VERDICT
    try:
        import pytest  # noqa: PLC0415 - preloaded by the parent, which a unit test of this module is not

        # Preloaded modules of pytest plugins are not rewritten, which matters to no test.
        quiet = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        code = pytest.main([*quiet, "--rootdir", str(tree), *tests])
    except BaseException:  # noqa: BLE001 - whatever it is, it is no verdict
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """The command line: ends with 1 where a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="a part of the names")
    parser.add_argument("--policies", action="store_true", help="those of the policies, of which `make acceptance` is")
    parser.add_argument("--sample", action="store_true", help="one cheap mutant of each policy")
    given = parser.parse_args()
    chosen = [each for each in table() if given.only in each.name]
    chosen = [each for each in chosen if each.policy >= given.policies and each.sample >= given.sample]
    if not chosen:
        parser.error("no mutant has this name")
    for module in _PRELOADED:
        importlib.import_module(module)
    check(sorted({each.test for each in chosen}))
    survivors = []
    for mutant in chosen:
        began, found = time.monotonic(), verdict(mutant)
        survivors += [mutant] if found == SURVIVED else []
        print(f"{found:10} {mutant.name} ({time.monotonic() - began:.0f} s)\n    {mutant.test}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants are killed")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
