"""List of `make mutants`: each patch matches exactly one place and names an existing test."""

import pytest

from mutants import MUTANTS, ROOT, Mutant


def test_there_is_a_mutant_for_each_defence() -> None:
    assert len(MUTANTS) >= 30
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_code_that_is_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.mutated(text) != text
    file, _, test = mutant.test.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()
