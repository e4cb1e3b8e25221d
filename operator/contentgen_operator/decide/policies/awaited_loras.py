"""LoRAs: an ImageGeneration waits until each LoraTraining that it names has a version. Pure."""

from contentgen_contract.names import Phase, Reason
from contentgen_contract.resources.spec import ImageGenerationSpec
from contentgen_operator.plans.planning import recheck_seconds, replace_run, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.plan import Plan

_MAX_WAIT_SECONDS = 900.0  # fallback for a missed event of the LoRA, which wakes the resources that use it


def hold(case: DecisionInput) -> Plan | None:
    """The plan of an image with a LoRA that is not ready; None: all of them are."""
    if not isinstance(case.spec, ImageGenerationSpec):
        return None
    unready = [lora for lora in case.observed.loras if lora.model_key is None]
    if not unready:
        return None
    # Nothing was started or paid, so an edit, such as another LoRA's name, replaces this run at once.
    if (replaced := replace_run(case, Reason.WAITING_FOR_LORA)) is not None:
        return replaced
    worst = min(unready, key=lambda lora: (lora.phase is not None, lora.phase is not Phase.FAILED))
    reason, message = _wait_text(case, worst)
    return waiting(case, reason, message, recheck_seconds(case, _MAX_WAIT_SECONDS))


def _wait_text(case: DecisionInput, lora: LoraView) -> tuple[Reason, str]:
    """Reason and message of a wait for a LoRA: the run continues once the LoraTraining has a version."""
    paid = "nothing more is paid" if case.run.paid_attempt > 1 else "nothing was paid"
    goes_on = f"{paid} here, and it goes on by itself once that LoraTraining has a version, or with another LoRA in"
    match lora.phase:
        case None:
            reason = Reason.LORA_MISSING
            message = f"LoraTraining {lora.name} does not exist in this namespace; {goes_on} spec.loras"
        case Phase.FAILED:
            reason = Reason.LORA_FAILED
            message = f"LoraTraining {lora.name} has failed: {lora.message or 'no message'}; {goes_on} spec.loras"
        case phase:
            reason = Reason.WAITING_FOR_LORA
            message = f"waiting for LoraTraining {lora.name}, which is {lora.state or phase.value}{_without_file(lora)}"
    return reason, message


def _without_file(lora: LoraView) -> str:
    """Clause about a LoraTraining that has ended without a usable file; empty for one that has not ended."""
    if lora.estimated:
        return ": nothing was trained; remove spec.dryRun there, and the training is paid"
    if lora.phase is not Phase.COMPLETED:
        return ""
    return (
        ", and whose file is not in this installation's ledger: it was trained with other stores (another operator "
        "class); train it in this class, or give its address as path in spec.loras"
    )
