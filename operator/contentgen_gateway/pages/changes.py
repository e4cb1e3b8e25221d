"""Forms of a job's page: cancel, run again, collect again, approve, reject, resume, resend, edit, share, add to a
collection, delete.
"""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from contentgen_contract.advice.permitted_actions import Does
from contentgen_contract.names import Verdict
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import redirect, validated
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.changes import Edit
from contentgen_gateway.schemas.collections import AssetRef, MoreAssets
from contentgen_gateway.schemas.dataset import Window
from contentgen_gateway.schemas.notifications import NotificationId
from contentgen_gateway.schemas.sharing import Grantees, Wish

_WAIT_SECONDS = 3  # for the provider's answer; the cancellation continues without the page

router = APIRouter(route_class=PageRoute)


@router.post("/jobs/{job_id}/cancel")
async def cancel(caller: CallerDep, services: ServicesDep, job_id: Name) -> Response:
    """Cancel the run; the job stays."""
    await services.actions.cancel(caller, job_id, _WAIT_SECONDS)
    return redirect(f"/jobs/{job_id}?said=cancelling")


@router.get("/jobs/{job_id}/retry")
async def show_quote(
    *,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    paid: Annotated[bool, Query()] = False,
) -> Response:
    """Page with the price of another run, to confirm; with `paid`, of the paid run after an estimate."""
    record = await services.jobs.record(caller, job_id)
    quote = await services.actions.quote(caller, job_id, paid=paid)
    return render(request, "again.html", caller, job=card(record), quote=quote, paid=paid)


@router.post("/jobs/{job_id}/retry")
async def retry(
    *,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    run: Annotated[int | None, Form()] = None,
    resubmit: Annotated[str | None, Form(max_length=64)] = None,
    paid: Annotated[bool, Form()] = False,
) -> Response:
    """Start the confirmed run; without a run number, redirect to the confirmation."""
    if run is None:
        await services.actions.quote(caller, job_id)
        return redirect(f"/jobs/{job_id}/retry")
    await services.actions.run_again(caller, job_id, resubmit, run, paid=paid)
    return redirect(f"/jobs/{job_id}?said=again")


@router.post("/jobs/{job_id}/fetch")
async def collect_again(caller: CallerDep, services: ServicesDep, job_id: Name) -> Response:
    """Collect the paid result of a failed run again, without a payment."""
    await services.actions.collect(caller, job_id)
    return redirect(f"/jobs/{job_id}?said=fetching")


@router.get("/jobs/{job_id}/approve")
async def show_waiting_run(request: Request, caller: CallerDep, services: ServicesDep, job_id: Name) -> Response:
    """Page with the price and the training set of the run that waits, to approve or reject it."""
    record = await services.jobs.record(caller, job_id)
    waiting = await services.actions.waiting(caller, job_id)
    dataset = None
    if waiting.facts.get("type") == "dataset":
        with suppress(Problem):  # an invalid or missing dataset.json is not shown
            dataset = await services.datasets.page(caller, job_id, Window(version=waiting.version, limit=1))
    return render(request, "approve.html", caller, job=card(record), waiting=waiting, dataset=dataset)


@router.post("/jobs/{job_id}/approve")
async def approve(
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    run: Annotated[int | None, Form(ge=1)] = None,
    amount: Annotated[str | None, Form(max_length=32)] = None,
) -> Response:
    """Approve the run and the price that were shown; without them, redirect to the page that shows them."""
    if run is None or amount is None:
        return redirect(f"/jobs/{job_id}/approve")
    await services.actions.decide(caller, job_id, Verdict.APPROVED, run, amount)
    return redirect(f"/jobs/{job_id}?said=approved")


@router.post("/jobs/{job_id}/reject")
async def reject(
    caller: CallerDep, services: ServicesDep, job_id: Name, run: Annotated[int | None, Form(ge=1)] = None
) -> Response:
    """Reject the run that was shown."""
    await services.actions.decide(caller, job_id, Verdict.REJECTED, run)
    return redirect(f"/jobs/{job_id}?said=rejected")


@router.post("/jobs/{job_id}/resume")
async def resume(caller: CallerDep, services: ServicesDep, job_id: Name) -> Response:
    """Resume a suspended job."""
    await services.actions.resume(caller, job_id)
    return redirect(f"/jobs/{job_id}?said=resumed")


@router.post("/jobs/{job_id}/notifications/{notification_id}/resend")
async def resend(caller: CallerDep, services: ServicesDep, job_id: Name, notification_id: NotificationId) -> Response:
    """Deliver a notification again."""
    await services.notifications.resend(caller, job_id, notification_id)
    return redirect(f"/jobs/{job_id}?said=resent")


@router.post("/jobs/{job_id}/edit")
async def edit(  # noqa: PLR0917 - a form has as many fields
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    tags: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    public: Annotated[bool, Form()] = False,
) -> Response:
    """Change comma-separated tags, description and public visibility."""
    named = [tag.strip() for tag in tags.split(",") if tag.strip()]
    body = validated(Edit, {"tags": named, "description": description.strip(), "isPublic": public})
    await services.editing.edit(caller, job_id, body)
    return redirect(f"/jobs/{job_id}?said=saved")


@router.post("/jobs/{job_id}/share")
async def share(
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    users: Annotated[str, Form()] = "",
    namespaces: Annotated[str, Form()] = "",
) -> Response:
    """Share with comma-separated users and namespaces."""
    await services.sharing.share(caller, job_id, validated(Wish, _grantees(users, namespaces)))
    return redirect(f"/jobs/{job_id}?said=shared")


@router.post("/jobs/{job_id}/unshare")
async def unshare(
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    users: Annotated[str, Form()] = "",
    namespaces: Annotated[str, Form()] = "",
) -> Response:
    """Remove these shares; all of them if none is named."""
    await services.sharing.unshare(caller, job_id, validated(Grantees, _grantees(users, namespaces)))
    return redirect(f"/jobs/{job_id}?said=unshared")


def _grantees(users: str, namespaces: str) -> dict[str, object]:
    given = {"users": users, "namespaces": namespaces}
    found = {key: [name.strip() for name in text.split(",") if name.strip()] for key, text in given.items()}
    return {key: value for key, value in found.items() if value}


@router.post("/jobs/{job_id}/collect")
async def add_to_collection(
    caller: CallerDep, services: ServicesDep, job_id: Name, collection: Annotated[str, Form()] = ""
) -> Response:
    """Add the job to a collection."""
    await services.jobs.record(caller, job_id)
    await services.collections.put(caller, collection, MoreAssets(assets=[AssetRef(job_id=job_id)]))
    return redirect(f"/jobs/{job_id}?said=added")


@router.get("/jobs/{job_id}/delete")
async def confirm_deletion(*, request: Request, caller: CallerDep, services: ServicesDep, job_id: Name) -> Response:
    """Page to confirm a deletion, with the jobs that use the outputs; for callers who may delete the job."""
    record = await services.jobs.record(caller, job_id)
    if Does.DELETE not in {
        action.does for action in (await services.viewed_states.of_job(caller, record, None)).actions
    }:
        raise Problem(403, f"you may see the job {job_id!r}, but not delete it")
    stats = await services.usage.asset(caller, record)
    users = await services.jobs.stored(stats.used_in_jobs[:20])
    return render(request, "delete.html", caller, job=card(record), record=record, using=[card(user) for user in users])


@router.post("/jobs/{job_id}/delete")
async def delete(
    caller: CallerDep, services: ServicesDep, job_id: Name, force: Annotated[bool, Form()] = False
) -> Response:
    """Delete the record, the resource and all files."""
    await services.deletion.delete(caller, job_id, force=force)
    return redirect("/jobs?said=deleted")
