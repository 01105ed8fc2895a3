"""One engine: it reads, binds, observes, plans, applies, observes again, and writes down what happened."""
