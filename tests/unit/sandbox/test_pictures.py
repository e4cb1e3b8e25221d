"""Generated pictures: requested size, determinism per seed, any prompt."""

import pytest

from contentgen_sandbox.fal.pictures import DrawnScene, draw


@pytest.mark.parametrize(("width", "height"), [(64, 64), (513, 257), (576, 1024), (64, 2048)])
def test_size_is_exact(width: int, height: int) -> None:
    assert draw(DrawnScene("a lighthouse", width, height, 1, "fal-ai/flux/dev")).size == (width, height)


def test_the_seed_decides() -> None:
    scene = DrawnScene("a lighthouse", 256, 256, 1, "fal-ai/flux/dev")
    assert draw(scene).tobytes() == draw(scene).tobytes()
    assert draw(scene).tobytes() != draw(DrawnScene("a lighthouse", 256, 256, 2, "fal-ai/flux/dev")).tobytes()


@pytest.mark.parametrize("prompt", ["", " ", "x" * 10_000, "word " * 2_000, "灯台 \N{SNOWMAN}\n\t"])
def test_any_prompt_is_drawn(prompt: str) -> None:
    assert draw(DrawnScene(prompt, 256, 256, 2**62, "m", ("a", "b" * 500))).size == (256, 256)
