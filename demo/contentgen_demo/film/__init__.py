"""Generated video of the demo: drawing, speech synthesis and encoding."""
