"""Approval as a feature: it reads the resource, its status and the labels of its namespace only."""

from contentgen_operator.approval.gate import hold
from contentgen_operator.feature import Feature

FEATURE = Feature(gates=(hold,))
