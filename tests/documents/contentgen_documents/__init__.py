"""The documents as what they tell readers to do: every command and every manifest in them, checked and run by tests."""
