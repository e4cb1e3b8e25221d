"""Functions, tests and policies named in docs/threat-model.md exist: a row about a renamed one proves nothing."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/threat-model.md").read_text()
FOLDERS = ("operator", "worker-image", "cli", "cluster", "tools")
CODE = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
TESTS = list((ROOT / "tests").rglob("test_*.py"))
TEMPLATES = ROOT / "charts/contentgen/templates"
_NAME = re.compile(r"^ *(?:(?:async def|def|class) (\w+)|(\w+) = )", re.MULTILINE)
_FUNCTION = re.compile(r"([\w/]+\.py)(?::([\w.]+))?")
_TEST = re.compile(r"(?:(?:tests/[\w/]+/)?(test_\w+\.py)(?:::(test_\w+)(?:\[([\w-]+)\])?)?|(test_[\w…]*))")


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of functions, classes, methods and variables of a module."""
    return frozenset(name for names in _NAME.findall(path.read_text()) for name in names if name)


def has_code(file: str, name: str | None) -> bool:
    """Whether a module with this name, or end of a path, has a function, class or variable of this name."""
    modules = [path for path in CODE if f"/{path}".endswith(f"/{file}")]
    return any(name is None or set(name.split(".")) <= names_in(path) for path in modules)


def has_test(file: str | None, name: str | None, case: str | None) -> bool:
    """Whether there is such a test; … in a name stands for the rest of it, `case` is one of its parameters, which may
    come from a module in the folder above.
    """
    modules = [path for path in TESTS if file in (None, path.name)]
    if name is None:
        return bool(modules)
    wanted = re.compile(re.escape(name).replace("…", ".*"))
    having = [path for path in modules if any(map(wanted.fullmatch, names_in(path)))]
    return any(case is None or _mentions(path.parents[1], f'"{case}"') for path in having)


def _mentions(folder: Path, text: str) -> bool:
    return any(text in path.read_text() for path in folder.rglob("*.py"))


def wrong_names(page: str) -> Iterator[str]:
    """Names in a page's code spans that do not exist."""
    for span in re.findall(r"`([^`\n]+)`", page):
        if found := _TEST.fullmatch(span):
            file, test, case, bare = found.groups()
            if not has_test(file, test or bare, case):
                yield span
        elif (found := _FUNCTION.fullmatch(span)) and not has_code(*found.groups()):
            yield span
    for policy in re.findall(r"policy `([\w-]+)`", page):
        if not (TEMPLATES / f"admission/{policy}.yaml").is_file():
            yield f"policy {policy}"


def test_every_name_exists() -> None:
    assert not list(wrong_names(PAGE))


@pytest.mark.parametrize(
    "span",
    [
        "`identity.py:_no_such_function`",
        "`no_such_module.py:x`",
        "`test_worker_api.py::test_no_such_test`",
        "`test_no_such_test_file.py`",
        "`test_no_such_prefix…`",
        "`test_boundary.py::test_objects_that_a_policy_refuses[no-such-case]`",
        "policy `no-such-policy`",
    ],
)
def test_a_name_that_does_not_exist_is_found(span: str) -> None:
    assert list(wrong_names(f"| a threat | {span} |"))


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not re.match(r"\| (threat|---)", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_row_has_a_threat_a_defence_a_test_and_a_mutant() -> None:
    assert len(rows()) > 50
    for row in rows():
        assert len(row) == 4, row
        assert all(row), row
        assert "`test_" in row[2], f"a test has a name: {row[2]}"
