"""Page of spending and storage by day, kind, model and user."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.injection import CallerDep, NowDep, ServicesDep
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import LABELS
from contentgen_gateway.schemas.reports.usage import Usage, UsageOf, UsageReport
from contentgen_gateway.services.reports.usage import UsageReader
from contentgen_gateway.stores.aggregations import By

_WIDTH, _HEIGHT = 1000.0, 160.0
PERIODS = (7, 30, 90)
_KINDS = {kind.record_type: label for kind, label in LABELS.items()}

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Bar:
    """Spending of a day, including estimates, as a rectangle of a chart of 1000 by 160 units."""

    day: datetime
    paid: str
    x: float
    y: float
    width: float
    height: float


@router.get("/usage")
async def show_usage(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    now: NowDep,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> Response:
    """Page with tables and chart."""
    usage = services.usage
    reports = await asyncio.gather(*(_report(caller, usage, by, now, days) for by in (By.KIND, By.MODEL, By.USER)))
    chart = await spending(caller, usage, now, days)
    return render(
        request, "usage.html", caller, reports=reports, chart=chart, days=days, labels=_KINDS, periods=PERIODS
    )


async def _report(caller: Caller, usage: UsageReader, by: By, now: datetime, days: int) -> UsageReport:
    since = (now - timedelta(days=days - 1)).date()
    return await usage.report(caller, UsageOf.model_validate({"by": by, "from": since}))


async def spending(caller: Caller, usage: UsageReader, now: datetime, days: int) -> tuple[Usage, tuple[Bar, ...]]:
    """Total, and a bar for each day up to today."""
    report = await _report(caller, usage, By.DAY, now, days)
    return report.total, bars(report.usage, now, days)


def bars(found: list[Usage], now: datetime, days: int) -> tuple[Bar, ...]:
    """A bar for each of the last `days` days, also without spending."""
    paid = {row.key: f"{float(row.paid) + float(row.estimated):.4f}" for row in found}
    dates = [now - timedelta(days=back) for back in range(days - 1, -1, -1)]
    most = max((float(paid.get(f"{date:%Y-%m-%d}", 0)) for date in dates), default=0) or 1.0
    width = _WIDTH / days
    made = []
    for number, date in enumerate(dates):
        amount = paid.get(f"{date:%Y-%m-%d}", "0")
        # A minimum height keeps small amounts visible; no spending is a line.
        height = max(_HEIGHT * float(amount) / most, 3.0 if float(amount) else 1.0)
        made.append(Bar(date, amount, number * width + width * 0.12, _HEIGHT - height, width * 0.76, height))
    return tuple(made)
