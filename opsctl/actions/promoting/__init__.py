"""Bringing one thing into the place of another by renaming, and putting it back; one file a kind of thing."""
