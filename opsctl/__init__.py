"""opsctl: backups that are proven, isolation that is proven, restoration in stages."""

import os

__version__ = "0.1.0"

# pydantic would search every installed package for plugins, at every start, and let any of them run in a process that
# may be root's.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
