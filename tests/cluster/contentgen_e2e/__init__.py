"""What the end-to-end tests look at: the world around the operator, and the oracle that says what must hold."""
