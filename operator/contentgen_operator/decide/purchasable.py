"""Checks of a spec before the payment: its fields, the model, and the name of a LoRA. Pure."""

from difflib import SequenceMatcher

from contentgen_contract.catalogue.entries import ENTRIES, entries_of
from contentgen_contract.names import Kind, Reason
from contentgen_contract.resources.models import full_name, model_of, names_of
from contentgen_contract.resources.spec import TranscriptionSpec
from contentgen_contract.resources.spec_checks import first_problem
from contentgen_operator.plans.planning import stop_before_payment, unpaid_text, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_ALTERNATIVES = 5
_NAME_WAIT_SECONDS = 30.0  # fallback for a missed event of the other resource


def refused(case: DecisionInput) -> Plan | None:
    """Failure of a run whose spec must not be bought; None: it may."""
    if (found := first_problem(case.spec)) is not None:
        reason = Reason.MODEL_NOT_ALLOWED if found.field[-1] == "model" else Reason.INVALID_SPEC
        return stop_before_payment(case, reason, f"{found}; {unpaid_text(case)}")
    if message := _model_refused(case):
        return stop_before_payment(case, Reason.MODEL_NOT_ALLOWED, f"{message}; {unpaid_text(case)}")
    return None


def waits(case: DecisionInput) -> Plan | None:
    """The plan of a run that may not buy yet; None: it may."""
    other = case.observed.same_lora_name
    if other is None:
        return None
    message = (
        f"the older LoraTraining {other} has the same spec.loraName: both would be paid; nothing is paid here until "
        "that one is deleted, which cancels its request if that has not ended, or until one of them has another "
        "loraName"
    )
    return waiting(case, Reason.WAITING_FOR_LORA_NAME, message, _NAME_WAIT_SECONDS)


def _model_refused(case: DecisionInput) -> str:
    """Reason for which the model may not be bought, with alternatives; empty: it may."""
    if isinstance(case.spec, TranscriptionSpec):  # it has no model field
        return ""
    model = model_of(case.spec)
    if model in models(case):
        return ""
    known = ENTRIES.get(model)
    unlisted = known is not None and known.kind is case.kind
    why = "the operator's models.allowed does not list it" if unlisted else "it is not in the catalogue of models"
    field = _MODEL_FIELDS.get(case.kind, "spec.model")
    return f"{field}: {model[:128]!r} may not be bought: {why}; {alternatives(case)}"


def models(case: DecisionInput) -> frozenset[str]:
    """Models of the catalogue, narrowed by the administrator's list; of a kind without entries, those of the list."""
    entries = frozenset(entry.endpoint for entry in entries_of(case.kind))
    listed = frozenset(map(full_name, case.settings.models_allowed))
    return entries & listed if entries and listed else entries or listed


def alternatives(case: DecisionInput) -> str:
    """Text that lists models of this kind that may be bought, the most similar name first."""
    model = model_of(case.spec)
    near = sorted(models(case), key=lambda name: (-SequenceMatcher(None, model, name).ratio(), name))
    if not near:
        return "no model of this kind may be"
    return f"allowed are {', '.join(names_of(each)[-1] for each in near[:_MAX_ALTERNATIVES])}"


_MODEL_FIELDS = {Kind.LORA_TRAINING: "spec.training.model"}
