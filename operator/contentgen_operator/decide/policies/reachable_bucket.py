"""Reachable bucket: nothing is paid for a request whose provider cannot fetch its input from the bucket.

`contentgen try` without a bucket of the user's has a store on one computer, and resources also come from its pages.
"""

from contentgen_contract.names import Reason
from contentgen_contract.resources.spec import ImageGenerationSpec
from contentgen_operator.plans.planning import recheck_seconds, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_WAIT_SECONDS = 300.0


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run whose paid request would fail, because the bucket is local."""
    provider = case.provider
    if provider not in case.settings.unreachable_for or not _is_fetched(case):
        return None
    message = (
        f"{provider} fetches the input of this run from the bucket, which is on this computer, and cannot reach it: "
        "nothing is paid; start `contentgen try` in another folder with --bucket and your own bucket"
    )
    return waiting(case, Reason.PROVIDER_NOT_CONFIGURED, message, recheck_seconds(case, _MAX_WAIT_SECONDS))


def _is_fetched(case: DecisionInput) -> bool:
    """True if the request names a file of the bucket: a training set, a sound file or a trained LoRA."""
    if isinstance(case.spec, ImageGenerationSpec):
        return any(lora.lora_ref is not None for lora in case.spec.loras)
    return True
