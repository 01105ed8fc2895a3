"""What searches restored data for what an attacker leaves behind."""
