"""Commands of the plugin, one module each."""
