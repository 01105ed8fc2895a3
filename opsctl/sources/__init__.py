"""What can be backed up; one file a kind."""
