"""Lifecycle rules of the bucket that delete temporary files after a day, beside the rules of others.

S3 replaces all rules at once, without a precondition, so rules are written only if ours differ, and not at all if the
bucket has a rule with an element that boto3 does not know and would drop.
"""

import logging
import re
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contentgen_contract.records.keys import TEMPORARY
from contentgen_runtime import s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rule = dict[str, Any]
_log = logging.getLogger(__name__)
_NONE = {"NoSuchLifecycleConfiguration", "NoSuchBucketLifecycle"}
_ELEMENT = re.compile(rb"<([A-Za-z][A-Za-z0-9]*)")
_EVENT = "after-call.s3.GetBucketLifecycleConfiguration"
_OURS = "contentgen-temporary-files"
_MARKERS = "contentgen-temporary-files-delete-markers"
_LEGACY_STYLE = {"LifecycleConfiguration"}


class RulesNotPermitted(Exception):
    """The store has no lifecycle rules, or we may not read or write them, or only with a loss."""


def set_rules(client: "S3Client", bucket: str, *, wanted: bool) -> bool:
    """Add our rules, or remove them; all others stay. True if ours are in force. Raises ClientError for an error of the
    store that may pass.
    """
    try:
        return _set_rules(client, bucket, wanted=wanted)
    except RulesNotPermitted as error:
        _log.info("bucket %s: no lifecycle rule: %s", bucket, error)
        return False
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 and status != 501:
            raise
        _log.info("bucket %s: no lifecycle rule: %s", bucket, s3.code(error))
        return False


def _set_rules(client: "S3Client", bucket: str, *, wanted: bool) -> bool:
    found, more = _read(client, bucket)
    others = [rule for rule in found if rule.get("ID") not in (_OURS, _MARKERS)]
    mine = [rule for rule in found if rule.get("ID") in (_OURS, _MARKERS)]
    ours = _rules(in_old_style=any("Filter" not in rule for rule in others)) if wanted else []
    if not _differ(mine, ours):
        return wanted
    if not [*others, *ours]:
        client.delete_bucket_lifecycle(Bucket=bucket)
        return False
    given: Any = {"Rules": [*others, *ours]}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=given, **more)
    return wanted


def _read(client: "S3Client", bucket: str) -> tuple[list[Rule], Any]:
    """Rules of the bucket, and what a write must repeat of the rest. Raises RulesNotPermitted, ClientError."""
    seen: list[bytes] = []

    def note(http_response: Any, **_: Any) -> None:
        seen.append(http_response.content)

    client.meta.events.register(_EVENT, note, unique_id=_OURS)
    try:
        reply: Any = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if s3.code(error) in _NONE:
            return [], {}
        raise
    finally:
        client.meta.events.unregister(_EVENT, note, unique_id=_OURS)
    output = client.meta.service_model.operation_model("GetBucketLifecycleConfiguration").output_shape
    elements = {element.decode() for body in seen for element in _ELEMENT.findall(body)}
    if unknown := elements - _names(output) - _LEGACY_STYLE:
        raise RulesNotPermitted(f"its rules have elements that would be lost: {', '.join(sorted(unknown))[:200]}")
    kept = {name: reply[name] for name in ("TransitionDefaultMinimumObjectSize",) if reply.get(name)}
    return list(reply.get("Rules", ())), kept


def _names(shape: Any) -> set[str]:
    """Names of all XML elements of a shape."""
    if shape.type_name == "list":
        inner = shape.member.serialization.get("name", "member")
        return {inner, *_names(shape.member)}
    if shape.type_name != "structure":
        return set()
    found: set[str] = set()
    for name, member in shape.members.items():
        found |= {member.serialization.get("name", name), *_names(member)}
    return found


def _rules(*, in_old_style: bool) -> list[Rule]:
    """Our rules. S3 refuses a mix of rules with a filter and rules with a prefix only, as older clients write them."""
    where: Rule = {"Prefix": TEMPORARY} if in_old_style else {"Filter": {"Prefix": TEMPORARY}}
    files = {
        "ID": _OURS,
        "Status": "Enabled",
        "Expiration": {"Days": 1},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    markers = {"ID": _MARKERS, "Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}}
    return [files | where, markers | where]


def _differ(found: list[Rule], wanted: list[Rule]) -> bool:
    """True if the rules are to be written: stores return some with more fields than were given."""
    by_id = {rule.get("ID"): rule for rule in found}
    if by_id.keys() != {rule["ID"] for rule in wanted}:
        return True
    return any(by_id[rule["ID"]].get(name) != value for rule in wanted for name, value in rule.items())
