"""Checks of a spec before the payment: its fields, the model, and the name of a LoRA. Pure."""

from difflib import SequenceMatcher

from contentgen_contract.names import Kind, Reason
from contentgen_contract.resources.models import full_name, model_of, names_of
from contentgen_contract.resources.prices import BUILT_IN_MODELS, PRICES, is_trainer
from contentgen_contract.resources.providers import Providers
from contentgen_contract.resources.spec import TranscriptionSpec
from contentgen_contract.resources.spec_checks import first_problem, makes_other_output
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
    model, listed = model_of(case.spec), case.settings.models_allowed
    if model in (map(full_name, listed) if listed else BUILT_IN_MODELS):
        return ""
    why = "does not list it" if listed else "is empty, which allows the built-in ones"
    field = _MODEL_FIELDS.get(case.kind, "spec.model")
    return f"{field}: {model[:128]!r} may not be bought: the operator's models.allowed {why}; {alternatives(case)}"


def alternatives(case: DecisionInput) -> str:
    """Text that lists models of this kind that may be bought, the most similar name first."""
    listed = case.settings.models_allowed or BUILT_IN_MODELS
    fitting = {full_name(each) for each in listed if _fits(case.kind, each, case.settings.providers)}
    model = model_of(case.spec)
    near = sorted(fitting, key=lambda name: (-SequenceMatcher(None, model, name).ratio(), name))
    if not near:
        return "no model of this kind may be"
    return f"allowed are {', '.join(names_of(each)[-1] for each in near[:_MAX_ALTERNATIVES])}"


def _fits(kind: Kind, model: str, providers: Providers) -> bool:
    full = full_name(model)
    known = is_trainer(full) is not None or full not in PRICES
    return known and providers.of_model(full) == providers.of_kind(kind) and not makes_other_output(kind, full)


_MODEL_FIELDS = {Kind.LORA_TRAINING: "spec.training.model"}
