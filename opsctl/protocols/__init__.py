"""The protocols that playbooks can be written to: facts with their sources, and the rules that follow from them."""
