"""The gateway's app in this process, over stores and an API server in memory."""
