"""What shows that restored data is right; one file a kind."""
