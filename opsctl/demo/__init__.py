"""The throw-away portal that `opsctl demo` and the tests back up, damage and restore."""
