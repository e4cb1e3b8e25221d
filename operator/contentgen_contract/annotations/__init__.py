"""Annotations by which a person asks for something: values and their meaning. Pure."""
