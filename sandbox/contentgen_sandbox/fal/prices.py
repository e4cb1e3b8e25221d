"""Prices of fal by the facts: rows of the pricing endpoint, charges, and billed units."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from contentgen_sandbox.fal.endpoints import FalEndpoint
from contentgen_sandbox.settings import SandboxSettings

_SMALLEST_USD = Decimal("0.000001")


@dataclass(frozen=True)
class PriceRow:
    """Price of an endpoint as the pricing endpoint has it."""

    usd: Decimal
    unit: str


@dataclass(frozen=True)
class FalCharge:
    """Charge of a request. `units` are those of the price row, which fal returns as billable units."""

    what: str
    units: Decimal
    usd: Decimal


def price_row(endpoint: FalEndpoint, settings: SandboxSettings) -> PriceRow | None:
    """Row of an endpoint; None: no source states its price.

    The word of the unit is the recorded one. A recorded amount that contradicts the published price is used only with
    `recorded_prices`.
    """
    price = endpoint.price
    if price is None:
        return None
    recorded = price["pricingRow"]
    if recorded is None:
        return PriceRow(_decimal(price["usd"]), price["per"])
    usd = recorded["unitPrice"] if settings.recorded_prices else price["usd"]
    return PriceRow(_decimal(usd), recorded["unit"])


def charge(endpoint: FalEndpoint, arguments: Mapping[str, Any], settings: SandboxSettings) -> FalCharge:
    """Charge of a request by the published price; nothing for inputs that the model refuses."""
    if endpoint.problems(arguments):
        return FalCharge(f"{endpoint.kind} (refused by the model)", Decimal(0), Decimal(0))
    what, row = _what(endpoint, arguments), price_row(endpoint, settings)
    if endpoint.price is None or row is None:
        return FalCharge(f"{what} (no published price)", Decimal(0), Decimal(0))
    units = max(_units(endpoint, arguments, settings), _decimal(endpoint.price["minimum"] or 0))
    usd = units * _rate(endpoint, arguments)
    return FalCharge(what, usd / row.usd, usd.quantize(_SMALLEST_USD, ROUND_CEILING))


def megapixels(pixels: int, settings: SandboxSettings) -> int:
    """Billed megapixels of one picture or clip, rounded up."""
    return math.ceil(pixels / settings.megapixel)


def _rate(endpoint: FalEndpoint, arguments: Mapping[str, Any]) -> Decimal:
    """Dollars of a unit with these inputs."""
    price = endpoint.price or {}
    usd, more = _decimal(price["usd"]), Decimal(0)
    for rate in price.get("rates", ()):
        if all(_is(endpoint.given(arguments, name), wanted) for name, wanted in rate["when"].items()):
            usd = _decimal(rate.get("usd", usd))
            more += _decimal(rate.get("add", 0))
    return usd + more


def _is(value: object, wanted: object) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def _units(endpoint: FalEndpoint, arguments: Mapping[str, Any], settings: SandboxSettings) -> Decimal:
    """Units of the published price."""
    width, height = (0, 0) if endpoint.kind == "trainer" else endpoint.pixels(arguments)
    match (endpoint.price or {})["unit"]:
        case "step":
            return Decimal(endpoint.steps(arguments))
        case "image":
            return Decimal(endpoint.count(arguments))
        case "megapixel":
            return Decimal(megapixels(width * height, settings) * endpoint.count(arguments))
        case "videoMegapixel":
            return Decimal(megapixels(width * height * endpoint.frames(arguments), settings))
        case "second":
            return _decimal(endpoint.seconds(arguments))
        case unit:
            raise ValueError(f"{endpoint.name} has the unknown unit {unit}")


def _what(endpoint: FalEndpoint, arguments: Mapping[str, Any]) -> str:
    if endpoint.kind == "trainer":
        return "training"
    width, height = endpoint.pixels(arguments)
    many = endpoint.count(arguments) if endpoint.kind == "image" else f"{endpoint.seconds(arguments):g} s"
    return f"{many} x {width}x{height}"


def _decimal(value: object) -> Decimal:
    return Decimal(str(value))
