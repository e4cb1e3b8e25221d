"""A ledger that went back to an older start is an error."""

from pathlib import Path
from typing import Any

import pytest

from contentgen_try.folder import FolderRefused
from contentgen_try.programs.ledger_starts import count


class Ledger:
    """Collection in memory."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | None = None

    def find_one(self, _query: Any, /) -> Any:
        return self.document

    def replace_one(self, _query: Any, new: Any, /, upsert: bool) -> Any:
        assert upsert
        self.document = new


@pytest.fixture
def paid(tmp_path: Path) -> Path:
    (tmp_path / "mongodb").mkdir()
    return tmp_path


@pytest.mark.parametrize("older", [None, {"number": 1}])
def test_an_older_or_empty_ledger_is_an_error(older: dict[str, Any] | None, paid: Path) -> None:
    ledger = Ledger()
    for _ in range(3):
        count(ledger, paid)
    ledger.document = older
    with pytest.raises(FolderRefused, match="damaged"):
        count(ledger, paid)
    assert ledger.document == older


def test_a_kill_between_the_two_writes_is_no_damage(paid: Path) -> None:
    ledger = Ledger()
    count(ledger, paid)
    ledger.document = {"number": 2}
    count(ledger, paid)
    assert (paid / "mongodb/starts").read_text() == "3"


def test_an_unreadable_number_is_an_error(paid: Path) -> None:
    (paid / "mongodb/starts").write_text("x")
    with pytest.raises(FolderRefused, match="damaged"):
        count(Ledger(), paid)
