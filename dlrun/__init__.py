"""dlrun: from one shell line to a trustworthy deep-learning result."""

__version__ = "0.1.0"
