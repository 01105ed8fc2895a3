"""How a host is cut off."""
