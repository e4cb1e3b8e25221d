"""Families of LoRAs: a model takes those of one family, which the trainer of a LoRA decides. Pure."""

from contentgen_contract.catalogue.entries import ENTRIES, CatalogueEntry, InputField
from contentgen_contract.resources.models import model_of
from contentgen_contract.resources.spec import ImageGenerationSpec
from contentgen_operator.decide import lora_identity, purchasable
from contentgen_operator.plans.planning import unpaid_text
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import LoraView


def refusal(case: DecisionInput) -> str | None:
    """Reason to refuse a LoRA of another family than the model takes, with the models that take it; None: all fit.

    The family is that of the trainer in the ledger: the spec of the LoraTraining may have changed since. One of a
    `path`, or of a trainer that has no entry, is unknown, and is not refused.
    """
    entry = ENTRIES.get(model_of(case.spec))
    if entry is None or not isinstance(case.spec, ImageGenerationSpec):
        return None
    views = {view.name: view for view in case.observed.loras}
    for index, lora in enumerate(case.spec.loras):
        view = views.get(lora.lora_ref.name) if lora.lora_ref else None
        trainer = _trainer(view) if view else None
        if view is not None and trainer is not None and trainer.lora_family != entry.lora_family:
            return (
                f"spec.loras[{index}].loraRef.name: {view.name!r} was trained by {trainer.short_name}, whose LoRAs "
                f"{entry.short_name} does not take; {_fitting(case, trainer.lora_family)}; {unpaid_text(case)}"
            )
    return None


def _trainer(view: LoraView) -> CatalogueEntry | None:
    training = lora_identity.training_of_file(view)
    return ENTRIES.get(training.model) if training is not None else None


def _fitting(case: DecisionInput, family: str | None) -> str:
    allowed = purchasable.models(case)
    takers = [entry for entry in ENTRIES.values() if entry.endpoint in allowed and entry.takes(InputField.LORAS)]
    names = [entry.short_name for entry in takers if entry.lora_family == family]
    return f"expected spec.model {' or '.join(names)}" if names else "no model that may be bought takes them"
