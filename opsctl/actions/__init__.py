"""The words a playbook can use; one file a word."""
