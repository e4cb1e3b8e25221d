"""List of `make mutants`: each patch matches exactly one place and names an existing test."""

import pytest

from mutants import MUTANTS, OF_POLICIES, ROOT, SAMPLE, Mutant


def test_there_is_a_mutant_for_each_defence() -> None:
    assert len(MUTANTS) >= 30
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)


def test_mutants_of_policies_are_those_whose_tests_are_of_policies_and_others_that_are_named_so() -> None:
    """`make acceptance` runs `OF_POLICIES`, and `make test` one mutant of each policy."""
    folders = tuple(f"tests/unit/operator/{each}/" for each in ("policies", "notifications", "audit"))
    assert [each.name for each in MUTANTS if each.test.startswith(folders) and each not in OF_POLICIES] == []
    elsewhere = {each.name for each in OF_POLICIES if not each.test.startswith(folders)}
    assert elsewhere >= {
        "the gateway asks no right to approve",
        "nothing waits for an approval",
        "expiry: the dry run deletes, and then the files go too",
        "notifications: a share shows the receivers",
        "notifications: another job's notification is resent",
        "usage metrics: any number of series",
    }
    assert len(OF_POLICIES) < len(MUTANTS)


def test_the_sample_has_one_mutant_of_each_policy() -> None:
    assert {*SAMPLE} <= {each.name for each in OF_POLICIES}
    words = ("approval", "budget", "queue", "expiry", "notifications", "audit", "accounts")
    assert [sum(word in name.split(":")[0] for name in SAMPLE) for word in words] == [1] * len(words)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_code_that_is_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.mutated(text) != text
    file, _, test = mutant.test.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()
