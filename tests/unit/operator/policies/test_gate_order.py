"""Gate between the free and the paid stages."""

from contentgen_operator.components import FEATURES
from contentgen_operator.decide.disagreement import wait_for_stores
from contentgen_operator.decide.policies import awaited_loras, reachable_bucket
from contentgen_operator.decide.policies.gate_order import GATE


def test_the_gate_has_the_gates_of_all_features() -> None:
    gates = {gate for feature in FEATURES for gate in feature.gates}
    assert gates <= set(GATE)
    assert set(GATE) - gates == {awaited_loras.hold, wait_for_stores, reachable_bucket.hold}
