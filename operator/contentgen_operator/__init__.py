"""The operator: whatever wakes it, it observes one resource, decides (pure), and acts.

    wiring (kopf) → queue → observe → decide → act
                               │         │        └ ledger and provider, Job, record, one status write, events
                               │         └ pure: resource + observation + now → plan
                               └ reads: Job, outcome, ledger, provider, LoRAs

`desk` serves the workers; `providers` speak to fal and AssemblyAI; `ledger` makes a payment happen at most once.
"""
