"""`make demo`: apply three resources to a real cluster, follow them to completion, and check their files.

The demo uses kubectl, helm and HTTP as a user does. It imports no code of the operator.
"""
