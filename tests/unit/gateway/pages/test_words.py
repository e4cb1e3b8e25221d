"""Filters of the templates."""

from datetime import UTC, datetime, timedelta

import pytest

from contentgen_gateway.pages.rendering import filters

DASH = "\u2013"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("0", "$0.00"), (0.00004, "< $0.001"), (0.001, "$0.001"), ("0.035", "$0.035"), (0.1, "$0.10"),
        ("1234.5", "$1,234.50"), (None, DASH), ("a lot", DASH),
    ],
)  # fmt: skip
def test_money(amount: object, told: str) -> None:
    assert filters.money(amount) == told


def test_money_of_another_currency() -> None:
    assert filters.money("2.4", "EUR") == "2.40 EUR"


@pytest.mark.parametrize(
    ("since", "told"),
    [
        (timedelta(seconds=20), "just now"), (timedelta(seconds=-20), "in a moment"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(hours=-2), "in 2 h"), (timedelta(days=1), "1 day ago"), (timedelta(days=6), "6 days ago"),
        (timedelta(days=10), "11 Nov"), (timedelta(days=400), "17 Oct 2025"),
    ],
)  # fmt: skip
def test_ago(since: timedelta, told: str) -> None:
    assert filters.ago(NOW - since, NOW) == told
    assert filters.ago(None, NOW) == DASH


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, DASH), (48.4, "48 s"), (60, "1 min"), (725, "12 min 5 s"), (3600, "1 h"), (3780, "1 h 3 min")],
)
def test_span(seconds: float | None, told: str) -> None:
    assert filters.span(seconds) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [(None, DASH), (7, "7 bytes"), (1200, "1.2 kB"), (120_000, "120 kB"), (5.9e6, "5.9 MB"), (2e12, "2.0 TB")],
)
def test_size(count: float | None, told: str) -> None:
    assert filters.size(count) == told


def test_a_name_breaks_between_its_words() -> None:
    assert filters.breakable("InsufficientFrames") == "Insufficient<wbr>Frames"
    assert filters.breakable("<b>Aa</b>") == "&lt;b&gt;Aa&lt;/b&gt;"
    assert filters.breakable(None) == ""


def test_names_and_sentences() -> None:
    assert filters.account("system:serviceaccount:marketing:default") == "marketing/default"
    assert [filters.account(word) for word in ("oidc:ann@example.com", "ann", "")] == ["ann@example.com", "ann", ""]
    assert filters.spaced("LoraNotReady") == "Lora not ready"
    assert filters.spaced("InsufficientFrames") == "Insufficient frames"
    assert filters.sentence("the provider has finished") == "The provider has finished."
    assert filters.sentence("spec.source.url is private") == "spec.source.url is private."
    assert filters.sentence("spec.source.url: 9 usable pictures") == "Source: 9 usable pictures."
    assert (filters.clock(245), filters.clock(3727)) == ("4:05", "1:02:07")
    assert filters.plural(1, "job") == "1 job"
    assert filters.plural(1200, "job") == "1,200 jobs"
    assert filters.query({"a": "1", "b": ""}, cursor="x") == "a=1&cursor=x"
