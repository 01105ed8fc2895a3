"""Reports that opsctl drafts and a named person sends."""
