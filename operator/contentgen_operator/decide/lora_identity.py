"""LoRA identity in the purchase key of an image: which purchase fits after a LoRA was trained again. Pure.

The first purchase of a spec has a key with LoRA names only; the ledger lists the LoRA files that
it used. A run whose LoRAs are of other trainings buys under a key with the identity of those trainings.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from contentgen_contract.records import keys
from contentgen_contract.resources.spec import ImageGenerationSpec, Spec
from contentgen_contract.resources.status import RunStatus
from contentgen_operator.decide.payment import status_names_purchase
from contentgen_operator.state.observed import LoraView, Resource, WantedPurchase
from contentgen_operator.state.purchases import Purchase, Variant, most_advanced, worth

_MISSING_WAIT = timedelta(seconds=60)  # an image and its LoRA are applied together, in any order


def decides_purchase(resource: Resource, run: RunStatus, spec: Spec, purchase: Purchase | None) -> bool:
    """True if the present LoRAs decide which purchase the run needs; False once it has a purchase or had an attempt."""
    if not isinstance(spec, ImageGenerationSpec) or not any(lora.lora_ref for lora in spec.loras):
        return False
    if run.paid_attempt > 1:
        return False
    if purchase is not None and purchase.unpaid:
        return run.purchase_id in (None, purchase.purchase_id) and run.request_id is None
    if status_names_purchase(resource, run):
        return False
    if purchase is None or purchase.job_id != resource.ref.uid:
        return True
    # The resource's own purchase: from an earlier run, or from this run if the process ended between POST and status.
    last_run = resource.status.run
    return last_run is not None and purchase.created_at < last_run.started_at


def wanted_purchase(
    run: RunStatus, loras: tuple[LoraView, ...], variants: Sequence[Variant], now: datetime, cluster: str = ""
) -> WantedPurchase:
    """The purchase that a run needs. `variants` are the purchases of its spec (`StatusVerifier.variants`).

    `cluster` is the uid of the present cluster. In a rebuilt cluster, resources adopt what was bought for them before.
    """
    bought = [variant for variant in variants if not variant.purchase.unpaid]
    mine, newest = identity(loras), _newest(bought)
    if mine is None:
        if any(_may_become_ready(lora, run, now) for lora in loras):
            return WantedPurchase(identity=run.lora_identity, waits=True)
        # No image can be bought without the LoRA, so an existing purchase is the best choice.
        return _wanted_variant(newest) if newest is not None else WantedPurchase(identity=run.lora_identity)
    if same := most_advanced([each for each in bought if each.identity == mine]):
        return _wanted_variant(same)
    if newest is not None and all(each.purchase.cluster_uid not in (None, cluster) for each in bought):
        return _wanted_variant(newest)
    plain = [each for each in bought if not each.identity]
    if drawn := most_advanced([each for each in plain if may_be_drawn_with(each.purchase, loras)]):
        return _wanted_variant(drawn)
    return WantedPurchase(identity=mine) if plain else WantedPurchase()


def _wanted_variant(variant: Variant) -> WantedPurchase:
    return WantedPurchase(identity=variant.identity or None, scope=variant.scope)


def _newest(variants: Sequence[Variant]) -> Variant | None:
    useful = [variant for variant in variants if worth(variant.purchase) > 1] or variants
    return max(useful, key=lambda each: each.purchase.created_at, default=None)


def identity(loras: tuple[LoraView, ...]) -> str | None:
    """Hash (16 hex digits) of the trainings' purchase ids in the spec's order; None if a LoRA has no file."""
    trained = [training_of_file(lora) for lora in loras]
    if None in trained:
        return None
    text = "/".join(each.purchase_id for each in trained if each is not None)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def may_be_drawn_with(purchase: Purchase, loras: tuple[LoraView, ...]) -> bool:
    """True if an image may have used these trainings, also if the ledger does not say."""
    if len(purchase.loras) != len(loras):
        return True
    return all(_may_be_of(key, lora) for key, lora in zip(purchase.loras, loras, strict=True))


def _may_be_of(key: str, lora: LoraView) -> bool:
    mine = training_of_file(lora)
    if mine is None or key in files_of([mine]):
        return True
    if key in files_of(lora.trainings):
        return False
    # A training that was collected again has its files under another job or version.
    made_by = keys.run_of(key)
    return made_by is None or made_by.job_id in (mine.job_id, *mine.former_owners)


def with_earlier_files(loras: tuple[LoraView, ...], earlier: Iterable[Purchase]) -> tuple[LoraView, ...]:
    """The LoRAs with the files that the run's earlier attempts used, if these still exist."""
    used = next((each.loras for each in earlier if len(each.loras) == len(loras)), ())
    kept = [
        lora.model_copy(update={"model_key": key}) if lora.model_key and key in files_of(lora.trainings) else lora
        for lora, key in zip(loras, used, strict=False)
    ]
    return tuple(kept) if kept else loras


def files_of(purchases: Iterable[Purchase]) -> frozenset[str]:
    """Keys of the files that purchases list."""
    outputs = [purchase.outputs for purchase in purchases if purchase.outputs]
    return frozenset(str(file.get("key")) for output in outputs for file in output.get("files") or ())


def training_of_file(lora: LoraView) -> Purchase | None:
    """Purchase of the LoRA's file; None: unknown."""
    return next((training for training in lora.trainings if lora.model_key in files_of([training])), None)


def _may_become_ready(lora: LoraView, run: RunStatus, now: datetime) -> bool:
    """True if a LoRA without a file may still get one."""
    if lora.model_key is not None:
        return False
    return not lora.phase.terminal if lora.phase is not None else now - run.started_at < _MISSING_WAIT
