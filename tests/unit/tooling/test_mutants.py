"""List of `make mutants`: each patch matches exactly one place and names an existing test."""

import pytest

from mutants import MUTANTS, POLICY_TESTS, ROOT, Mutant, is_of_policy


def test_there_is_a_mutant_for_each_defence() -> None:
    assert len(MUTANTS) >= 30
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)


def test_the_mutants_of_policies_are_found_by_their_tests() -> None:
    assert [tests for tests in POLICY_TESTS if not any(each.test.startswith(tests) for each in MUTANTS)] == []
    assert len({each.test.partition("::")[0] for each in MUTANTS if is_of_policy(each)}) >= 10


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_code_that_is_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.mutated(text) != text
    file, _, test = mutant.test.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()
