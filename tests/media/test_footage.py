"""The corpus of real conditions through the engine: `make test-media` runs all of it, `make test` a sample."""

import os
from pathlib import Path

import pytest

from contentgen_contract.resources.spec import Speed
from contentgen_footage.case import FootageCase
from contentgen_footage.corpus import CASES, SAMPLE
from contentgen_footage.judge import analyse, faults

_RUN = [
    pytest.param(case, speed, id=f"{case.name}-{speed}")
    for case in (CASES if os.environ.get("CONTENTGEN_MEDIA") == "all" else SAMPLE)
    for speed in case.speeds
]


@pytest.mark.parametrize(("case", "speed"), _RUN)
def test_footage_numbers_hold(case: FootageCase, speed: Speed, tmp_path: Path) -> None:
    """A case that is known to be wrong fails once it is right: then the table has to say so."""
    found = faults(case, speed, analyse(case, speed, tmp_path))
    if case.known and speed in case.known_speeds:
        assert found, "no longer wrong"
    else:
        assert not found, "; ".join(found)


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert sum(len(case.speeds) for case in CASES) >= 180
    assert len({case.name for case in CASES}) == len(CASES)
