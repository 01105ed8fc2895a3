"""Real servers for the tests, each throw-away, on loopback, gone with the process that started it."""
