"""`make test-real`: the real fal, AssemblyAI, S3 and cluster against the facts, with a person's keys and consent."""
