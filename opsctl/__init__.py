"""opsctl: backups that are proven, isolation that is proven, restoration in stages."""

__version__ = "0.1.0"
