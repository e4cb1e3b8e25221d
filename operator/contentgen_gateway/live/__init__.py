"""Jobs that run: snapshots from the API server's watches, and the resources behind them."""
