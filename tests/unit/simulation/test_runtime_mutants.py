"""Mutants of the end-to-end test patch functions that exist: a mutant of a renamed one would break nothing."""

import ast
from collections.abc import Iterator
from importlib import import_module

import pytest

from contentgen_e2e import runtime_mutants

CODES = {
    name: code
    for name, code in vars(runtime_mutants).items()
    if isinstance(code, str) and "import" in code and name.isupper()
}


def patched(code: str) -> Iterator[tuple[object, str]]:
    """Objects and attribute names that a mutant reads or replaces."""
    tree = ast.parse(code)
    objects = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("contentgen_"):
            module = import_module(node.module)
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                objects[alias.asname or alias.name] = getattr(module, alias.name, None) or import_module(inner)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in objects:
            yield objects[node.value.id], node.attr


@pytest.mark.parametrize("name", sorted(CODES))
def test_a_mutant_replaces_functions_that_exist(name: str) -> None:
    found = list(patched(CODES[name]))
    assert found
    assert [attribute for owner, attribute in found if not hasattr(owner, attribute)] == []
