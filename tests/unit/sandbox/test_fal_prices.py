"""Charges and price rows of fal's endpoints, by the facts."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contentgen_sandbox.fal.endpoints import ENDPOINTS
from contentgen_sandbox.fal.prices import charge, price_row
from contentgen_sandbox.settings import SandboxSettings

TRAINER = "fal-ai/flux-lora-fast-training"
KLING = "fal-ai/kling-video/v3/pro/text-to-video"
VEO = "fal-ai/veo3.1"
ZIP = {"images_data_url": "https://files.example/zip"}


@pytest.fixture
def settings(tmp_path: Path) -> SandboxSettings:
    return SandboxSettings(data=tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments", "units", "usd"),
    [
        ("fal-ai/flux-lora", {"prompt": "x", "num_images": 2, "image_size": "square_hd"}, 2, "0.07"),
        ("fal-ai/flux/schnell", {"prompt": "x", "image_size": {"width": 1024, "height": 1025}}, 2, "0.006"),
        (TRAINER, ZIP | {"steps": 10_000}, 10_000, "20"),
        (TRAINER, ZIP, 1000, "2"),
        (TRAINER, ZIP | {"steps": 10**9}, 0, "0"),
        (TRAINER, ZIP | {"steps": "x"}, 0, "0"),
        ("fal-ai/flux-lora-portrait-trainer", ZIP | {"steps": 10}, 1000, "2.4"),
        ("fal-ai/krea-2-trainer", ZIP | {"steps": 10}, 100, "0.28"),
        (VEO, {"prompt": "x", "duration": "4s"}, 4, "1.6"),
        (VEO, {"prompt": "x", "duration": "4s", "generate_audio": False}, 2, "0.8"),
        (VEO, {"prompt": "x", "duration": "4s", "resolution": "4k"}, 6, "2.4"),
        (KLING, {"prompt": "x", "duration": "3"}, 3, "0.504"),
        (KLING, {"multi_prompt": [{"prompt": "x", "duration": "2"}, {"prompt": "y", "duration": "5"}]}, 7, "1.176"),
        ("fal-ai/wan/v2.2-a14b/text-to-video/lora", {"prompt": "x", "num_frames": 32}, 2, "0.2"),
        (
            "fal-ai/nano-banana-2/edit",
            {"prompt": "cat", "resolution": "2K", "enable_web_search": True},
            1.6875,
            "0.135",
        ),
        ("fal-ai/flux-2/lora/edit", {"prompt": "x", "image_urls": ["https://files.example/a"]}, 0, "0"),
    ],
)
def test_charge_is_by_the_published_price(
    settings: SandboxSettings, name: str, arguments: dict[str, Any], units: float, usd: str
) -> None:
    cost = charge(ENDPOINTS[name], arguments, settings)
    assert (float(cost.units), cost.usd) == (units, Decimal(usd))


def test_size_of_a_megapixel_is_a_setting(settings: SandboxSettings) -> None:
    model, arguments = ENDPOINTS["fal-ai/flux/dev"], {"prompt": "x", "image_size": "square_hd"}
    decimal = settings.model_copy(update={"megapixel": 1_000_000})
    assert charge(model, arguments, settings).units == 1
    assert charge(model, arguments, decimal).units == 2


def test_rows_have_the_recorded_words_of_units(settings: SandboxSettings) -> None:
    rows = {name: price_row(endpoint, settings) for name, endpoint in ENDPOINTS.items()}
    words = {name: row.unit for name, row in rows.items() if row is not None}
    assert words["fal-ai/flux-2-trainer"] == "train units"
    assert words["fal-ai/flux-2-trainer-v2"] == "units"
    assert words["fal-ai/flux-2/lora"] == "megapixel"
    assert words[TRAINER] == "steps"
    assert rows["fal-ai/flux-2/lora/edit"] is None


@pytest.mark.parametrize(("name", "usd", "units"), [(TRAINER, "0.02", 100), (KLING, "0.14", 6)])
def test_recorded_amounts_change_the_units_and_no_charge(
    settings: SandboxSettings, name: str, usd: str, units: float
) -> None:
    recorded = settings.model_copy(update={"recorded_prices": True})
    row, arguments = price_row(ENDPOINTS[name], recorded), ZIP | {"prompt": "x"}
    before, after = (charge(ENDPOINTS[name], arguments, each) for each in (settings, recorded))
    assert row is not None
    assert (row.usd, float(after.units)) == (Decimal(usd), units)
    assert before.usd == after.usd


def test_each_priced_endpoint_has_a_charge_with_its_defaults(settings: SandboxSettings) -> None:
    for endpoint in ENDPOINTS.values():
        properties, required = endpoint.document["input"]["properties"], endpoint.document["input"]["required"]
        arguments = {name: [] if "items" in properties[name] else "text" for name in required} | {"prompt": "text"}
        cost = charge(endpoint, arguments, settings)
        assert (cost.usd > 0) == (endpoint.price is not None), endpoint.name
