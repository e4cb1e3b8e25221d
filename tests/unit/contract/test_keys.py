"""S3 keys: functions with external names refuse those that could leave their prefix."""

from collections.abc import Callable

import pytest

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys

BAD = [
    "",
    ".",
    "..",
    "../a",
    "a/b",
    "/a",
    "a/",
    "a/../b",
    "-a",
    ".a",
    "a\\b",
    "a b",
    "a\n",
    "a\0",
    "ä",
    "%2e%2e",
    "a" * 129,
]
GOOD = ["a", "A9", "user-123", "a..b", "team_1.x", "a" * 128]
BUILDERS: dict[str, Callable[[str], object]] = {
    **{
        f"{part} of a {kind} {stage}": build
        for kind in Kind
        for stage in Stage
        for part, build in (
            ("user", lambda name, k=kind, s=stage: keys.prefix(k, s, name, "job", 1)),
            ("job", lambda name, k=kind, s=stage: keys.prefix(k, s, "user", name, 2)),
        )
    },
    "internal folder": keys.internal_prefix,
    "outcome": lambda name: keys.outcome(name, 1, Stage.PREPARE, 1),
    "provider result": keys.purchase_response,
    "all folders": lambda name: keys.job_prefixes(Kind.LORA_TRAINING, name, "job"),
}


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_name_that_could_leave_its_folder_makes_no_key(builder: str) -> None:
    for name in BAD:
        with pytest.raises(ValueError, match="not usable in an S3 key"):
            BUILDERS[builder](name)


@pytest.mark.parametrize("builder", BUILDERS)
def test_names_that_the_schema_allows_make_keys(builder: str) -> None:
    for name in GOOD:
        assert name in str(BUILDERS[builder](name))
