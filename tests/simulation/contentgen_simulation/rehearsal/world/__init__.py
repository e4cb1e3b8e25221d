"""The world of a rehearsal: operator processes, cluster, bucket, provider and workers, all in memory."""
