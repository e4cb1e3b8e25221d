"""HTTP servers of the operator and the gateway: uvicorn with limits of time, connections and body size."""
