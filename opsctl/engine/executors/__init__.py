"""Where the steps of a bound plan are run; one contract suite holds all executors to the same behaviour."""
