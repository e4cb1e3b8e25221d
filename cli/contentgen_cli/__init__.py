"""`kubectl contentgen`: what a user asks of their content, in words. Reads the cluster through the user's kubeconfig.

It knows the contract and nothing of the operator, so any version of one talks to any version of the other.
"""
