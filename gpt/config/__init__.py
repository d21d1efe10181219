"""Every flag, its default and its range."""
