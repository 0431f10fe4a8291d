"""20-50 lines each: `get_config()` returns the config of one experiment."""
