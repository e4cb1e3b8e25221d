"""The provider's response as the operator stored it."""

from typing import Any

from contentgen_contract.names import Reason
from contentgen_worker.collect.answers import read_json
from contentgen_worker.errors import Retryable, StageFailed
from contentgen_worker.stage_context import StageContext

_BYTES = 256 << 20  # 12 hours of speech are about 30 MB


def provider_response(context: StageContext) -> dict[str, Any]:
    """JSON object of the response. Raises StageFailed, or Retryable if there is none."""
    if context.order.result is None:
        raise Retryable("the work order names no result; operator and worker may differ in version")
    file = context.fetch_stored(context.order.result, "answer.json")
    if file.size_bytes > _BYTES:
        raise StageFailed(Reason.RESULT_INVALID, f"the provider's answer has more than {_BYTES} bytes")
    try:
        response = read_json(file.path.read_bytes(), _BYTES)
    except ValueError as error:
        raise StageFailed(Reason.RESULT_INVALID, f"the provider's answer is not JSON ({error})") from None
    if not isinstance(response, dict):
        raise StageFailed(Reason.RESULT_INVALID, "the provider's answer is not a JSON object")
    return response
