"""`/api/jobs/{jobId}/notifications`: log of webhooks, and another delivery. The public keys of their signatures."""

from fastapi import APIRouter, Response

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.notifications import JobNotification, NotificationId, NotificationList, PublicKeys

_KEYS_SECONDS = 300

router = APIRouter(prefix="/api/jobs", tags=["notifications"], responses=RESPONSES)
keys_router = APIRouter(tags=["notifications"], responses=RESPONSES)


@router.get("/{job_id}/notifications")
async def list_notifications(caller: CallerDep, services: ServicesDep, job_id: Name) -> NotificationList:
    """Notifications of a job with their attempts, latest first, for callers who may read its resource."""
    return await services.notifications.of_job(caller, job_id)


@router.post("/{job_id}/notifications/{notification_id}/resend", status_code=202)
async def resend(
    caller: CallerDep, services: ServicesDep, job_id: Name, notification_id: NotificationId
) -> JobNotification:
    """Deliver a notification again, with the same id and text."""
    return await services.notifications.resend(caller, job_id, notification_id)


@keys_router.get("/.well-known/contentgen-webhooks.json")
async def public_keys(services: ServicesDep, response: Response) -> PublicKeys:
    """Ed25519 keys that sign notifications, newest first. A signature by any of them is valid."""
    response.headers["Cache-Control"] = f"public, max-age={_KEYS_SECONDS}"
    return await services.notifications.public_keys()
