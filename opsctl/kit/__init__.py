"""The emergency kit: what is needed to begin anew on a machine without a network."""
