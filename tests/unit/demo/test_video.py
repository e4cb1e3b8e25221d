"""Properties of the demo's video, without rendering it."""

from pathlib import Path

import numpy as np
import pytest

from contentgen_demo.film.drawing import FILM_HEIGHT, FILM_WIDTH, ShotPainter
from contentgen_demo.film.film import SHOTS, FilmJoin, FilmScene
from contentgen_demo.film.speech import RATE, loudness, mix
from contentgen_demo.film.video import FPS, SHORTEST_SECONDS, cache_folder, shot_lengths
from contentgen_demo.media import is_url, media_name


def test_enough_shots_with_cuts_dissolves_and_own_colours() -> None:
    assert len(SHOTS) >= 12
    assert {shot.join for shot in SHOTS} == {FilmJoin.CUT, FilmJoin.DISSOLVE}
    assert len({shot.palette for shot in SHOTS}) == len(SHOTS)
    assert {shot.scene for shot in SHOTS} == set(FilmScene)


@pytest.mark.parametrize("spoken", [[1.0] * 14, [4.0] * 14, [9.0] * 14])
def test_the_film_is_long_enough_and_no_sentence_is_cut(spoken: list[float]) -> None:
    lengths = shot_lengths(spoken)
    assert sum(lengths) >= SHORTEST_SECONDS
    assert all(length > each_length for length, each_length in zip(lengths, spoken, strict=True))
    assert all((length * FPS).is_integer() for length in lengths)


def test_every_shot_can_be_drawn_and_moves() -> None:
    for seed, shot in enumerate(SHOTS):
        painter = ShotPainter(shot, seed)
        first, later = painter.paint(1.0, 0.0), painter.paint(1.5, 1.0)
        assert first.shape == (FILM_HEIGHT, FILM_WIDTH, 3)
        assert np.abs(first.astype(int) - later).mean() > 0.5, shot.title


def test_sentences_are_audible_and_move_the_mouth_at_their_time() -> None:
    sentence = np.full(RATE, 0.5, dtype=np.float32)
    assert len(mix([(1.0, sentence)], 3.0)) == 3 * RATE
    loud = loudness([(1.0, sentence)], 3.0, FPS)
    assert max(loud[: FPS - 1]) == 0
    assert min(loud[FPS + 1 : 2 * FPS - 1]) == 1


def test_the_cache_moves_with_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONTENTGEN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "demo"
    monkeypatch.delenv("CONTENTGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "contentgen/demo"


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    one, other, same = tmp_path / "My Talk.MP4", tmp_path / "b.mp4", tmp_path / "c.mp4"
    for path, content in ((one, b"a"), (other, b"b"), (same, b"a")):
        path.write_bytes(content)
    assert media_name(one) == media_name(same) != media_name(other)
    assert media_name(one).endswith(".mp4")


@pytest.mark.parametrize(
    ("video", "url"), [("https://a/b.mp4", True), ("s3://b/k", True), ("b.mp4", False), ("/a:b", False)]
)
def test_an_address_is_told_from_a_path(video: str, url: bool) -> None:
    assert is_url(video) is url
