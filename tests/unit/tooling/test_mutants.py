"""Rows of `make mutants`: each matches exactly one place and names an existing test; how a row is read and applied."""

import ast
import re
from functools import cache

import pytest

from mutants import ROOT, Mutant, table

MUTANTS = table()
CODE = """
LIMITS = {"a": 1, "b": 2}

class Store:
    def take(self, key):
        '''Docstring.'''
        if self.left(key) > 0 and self.open:
            self.note(
                key,  # a comment
                kind="taken",
            )
            return True
        match key:
            case "x":
                return None
        def left():
            return self.left(key)
        return False

    def keys(self):
        return ("a", "b", "c")
"""


def row(scope: str, old: str, new: str) -> Mutant:
    return Mutant("a name", "operator/store.py", scope, old, new, "tests/unit/operator/runs/test_store.py::test_it")


@cache
def source(file: str) -> str:
    return (ROOT / file).read_text()


@cache
def unparsed(file: str) -> str:
    return ast.unparse(ast.parse(source(file)))


@pytest.mark.parametrize(
    ("scope", "old", "new", "gone", "added"),
    [
        ("Store.take", "self.left( key )>0", "True", "self.left(key) > 0", "if True and self.open"),
        ("Store.take", "self.open", "", "self.open", "if self.left(key) > 0:"),
        ("Store.take", "self.note(key, kind='taken')", "", "self.note", "return True"),
        ("Store.take", "self.note(key, kind='taken')\nreturn True", "return 1", "self.note", "return 1"),
        ("Store.take", "self.note(key, kind='taken')", "pass", "self.note", "pass"),
        ("Store.take", "kind='taken'", "", "kind='taken'", "self.note(key)"),
        ("Store.take", "case 'x': return None", "case _:\n    return 2", "return None", "return 2"),
        ("Store.take.left", "self.left(key)", "0", "return self.left(key)", "return 0"),
        ("Store.keys", "'b'", "", "'b', 'c'", "('a', 'c')"),
        ("Store.keys", "'a', 'b'", "'d'", "'a', 'b', 'c'", "('d', 'c')"),
        ("", "{'a': 1, 'b': 2}", "{'a': 1}", "'b': 2", "LIMITS = {'a': 1}"),
        ("", "LIMITS = {'a': 1, 'b': 2}", "LIMITS = {}", "'b': 2", "LIMITS = {}"),
    ],
)
def test_code_is_found_as_syntax_and_replaced(scope: str, old: str, new: str, gone: str, added: str) -> None:
    before, after = ast.unparse(ast.parse(CODE)), row(scope, old, new).mutated(CODE)
    assert (gone in before, gone in after, added in after) == (True, False, True)


@pytest.mark.parametrize(
    ("scope", "old", "new", "said"),
    [
        ("Store.taken", "self.open", "True", "has 0 definitions"),
        ("Store.take", "self.closed", "True", "has 0 times 'self.closed'"),
        ("Store.take", "key", "None", "has 3 times 'key'"),
        ("Store.keys", "self.open", "True", "has 0 times"),
        ("Store", "self.open", "True", "has 0 times"),
        ("", "'b'", "", "has 0 times"),
    ],
    ids=["renamed function", "other code", "several places", "another function", "class around it", "key of a dict"],
)
def test_code_not_found_once_is_an_error_with_the_row(scope: str, old: str, new: str, said: str) -> None:
    where = f"tests/unit/operator/runs/mutants.toml: a name: operator/store.py::{scope} "
    with pytest.raises(ValueError, match=re.escape(where + said)):
        row(scope, old, new).mutated(CODE)


def test_every_defence_has_a_mutant() -> None:
    assert len(MUTANTS) >= 250
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_policy_mutants_are_those_of_policy_tests_or_named_so() -> None:
    """`make acceptance` runs mutants of policies, and `make test` one of each policy."""
    folders = tuple(f"tests/unit/operator/{each}/" for each in ("policies", "notifications", "audit"))
    assert [mutant.name for mutant in MUTANTS if mutant.test.startswith(folders) and not mutant.policy] == []
    elsewhere = {mutant.name for mutant in MUTANTS if mutant.policy and not mutant.test.startswith(folders)}
    assert elsewhere >= {
        "the gateway asks no right to approve",
        "nothing waits for an approval",
        "expiry: the dry run deletes, and then the files go too",
        "notifications: a share shows the receivers",
        "notifications: another job's notification is resent",
        "usage metrics: any number of series",
    }
    assert not all(mutant.policy for mutant in MUTANTS)


def test_the_sample_has_one_mutant_of_each_policy() -> None:
    sample = [mutant for mutant in MUTANTS if mutant.sample]
    assert all(each.policy for each in sample)
    words = ("approval", "budget", "queue", "expiry", "notifications", "audit", "accounts")
    assert [sum(word in each.name.split(":")[0] for each in sample) for word in words] == [1] * len(words)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_code_that_is_there(mutant: Mutant) -> None:
    assert mutant.mutated(source(mutant.file)) != unparsed(mutant.file)
    file, _, test = mutant.test.partition("::")
    assert f"def {test}(" in source(file)
