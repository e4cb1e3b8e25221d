"""MongoDB and S3: ledger, records, run documents, files and their garbage collector."""
