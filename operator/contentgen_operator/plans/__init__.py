"""Construction of plans: the status, its conditions and events, and what every wait and end needs. Pure."""
