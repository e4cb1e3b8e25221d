"""`make demo`: three resources on a real cluster, watched from apply to the files they made.

It does what a user would do, with kubectl and helm and a browser's worth of HTTP; it imports nothing of the operator.
"""
