"""Addresses of `make test-real`, and the journal that belongs to them."""

import pytest

from contentgen_real.place import BUILD, SECRETS, ProviderPlace
from contentgen_real.stand_in import SETTINGS

EUROPE = {"CONTENTGEN_ASSEMBLYAI_URL": "https://api.eu.assemblyai.com"}


@pytest.mark.parametrize("changed", [{}, EUROPE, *({name: url} for name, url in SETTINGS.items()), SETTINGS | EUROPE])
def test_one_real_provider_is_enough_for_the_real_journal(changed: dict[str, str]) -> None:
    place = ProviderPlace.of(changed)
    assert (place.folder, place.pause) == (BUILD, 5)


def test_stand_ins_alone_have_a_journal_of_their_own() -> None:
    place = ProviderPlace.of(SETTINGS)
    assert (place.folder, place.pause) == (BUILD / "stand-in", 0.02)


def test_address_in_europe_is_no_stand_in() -> None:
    assert ProviderPlace.of(EUROPE).stand_ins == ()


def test_token_of_a_session_is_a_secret() -> None:
    assert "S3_SESSION_TOKEN" in SECRETS
