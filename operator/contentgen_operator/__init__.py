"""The operator: on any wake-up it observes one resource, decides (pure), and acts.

    kopf handlers → work queue → observe → decide → act
                                    │         │        └ run document, ledger, provider, Job, record, status, events
                                    │         └ pure: resource + observation + now → plan
                                    └ reads: Job, outcome, ledger, provider, LoRAs

`worker_api` serves the workers; `providers` are the clients of fal and AssemblyAI; `stores` has the ledger, by which a
payment happens at most once.
"""
