"""The decision: resource + observation + now → plan. Pure: nothing here reads, writes or asks the clock."""
