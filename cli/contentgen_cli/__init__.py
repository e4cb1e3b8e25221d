"""The kubectl plugin `kubectl contentgen`. Accesses the cluster with the user's kubeconfig.

It imports the contract and nothing of the operator, so that each version works with each version of the operator.
"""
