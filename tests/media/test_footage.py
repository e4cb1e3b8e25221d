"""The corpus of real conditions through the engine."""

import os
from pathlib import Path

import pytest

from contentgen_contract.resources.spec import Speed
from contentgen_footage.case import Case
from contentgen_footage.corpus import CASES
from contentgen_footage.judge import analyse, faults


@pytest.mark.parametrize(
    ("case", "speed"), [pytest.param(case, speed, id=f"{case.name}-{speed}") for case in CASES for speed in case.speeds]
)
def test_its_numbers_hold(case: Case, speed: Speed, tmp_path: Path) -> None:
    assert faults(case, analyse(case, speed, tmp_path)) == []
