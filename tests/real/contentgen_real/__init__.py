"""`make test-real`: our provider adapters against the real fal and AssemblyAI, with a person's keys and consent."""
