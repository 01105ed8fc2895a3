"""Where commands run: on this machine (``local``), and over SSH."""
