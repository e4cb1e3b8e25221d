"""Files that are hostile or broken, and what a child that decodes them may try."""
