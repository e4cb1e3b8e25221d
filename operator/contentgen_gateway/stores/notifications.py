"""Log of notifications, and the request for another delivery. The operator writes all other fields."""

from datetime import datetime

from pymongo.collection import Collection

from contentgen_contract.records.notifications import ENDED, NotificationState
from contentgen_runtime.mongo import Document
from contentgen_runtime.stores import in_thread

MOST = 200
"""Notifications of one job in its log, latest first."""
_HIDDEN = {"payload": False}
_TRIES = 5  # the operator writes to the notification at the same time


class Notifications:
    """The MongoDB collection `notifications`. pymongo is synchronous, so each call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection

    @in_thread
    def of_job(self, job_id: str) -> list[Document]:
        """Notifications of a job, latest first, without those whose event is not certain yet."""
        found = self._collection.find({"jobId": {"$eq": job_id}}, _HIDDEN).sort([("createdAt", -1)]).limit(MOST)
        return [document for document in found if document["state"] != NotificationState.PLANNED]

    @in_thread
    def resend(self, job_id: str, identity: str, asked_by: str, now: datetime) -> Document | None:
        """Notification that is delivered again, for a day as at first; None if the job has no such notification.

        The id and the text stay. A URL that had answered 410 is used again.
        """
        for _ in range(_TRIES):
            found = self._collection.find_one({"_id": identity, "jobId": {"$eq": job_id}}, _HIDDEN)
            if found is None or found["state"] == NotificationState.PLANNED:
                return None
            change: Document = {"nextAt": now}
            if found["state"] in ENDED:
                change |= {"state": NotificationState.PENDING.value, "tries": 0, "roundStartedAt": None}
                change |= {"expiresAt": None, "askedBy": asked_by}
                self._use_again(job_id, found["urlHash"], identity)
            same = {"_id": identity, "revision": found["revision"]}
            if self._collection.update_one(same, {"$set": change, "$inc": {"revision": 1}}).matched_count == 1:
                return found | change
        return None

    def _use_again(self, job_id: str, url_hash: str, identity: str) -> None:
        """End the effect of a 410 of this URL."""
        gone = {"jobId": {"$eq": job_id}, "urlHash": url_hash, "state": NotificationState.GONE.value}
        change = {"$set": {"state": NotificationState.FAILED.value}, "$inc": {"revision": 1}}
        self._collection.update_many(gone | {"_id": {"$ne": identity}}, change)
