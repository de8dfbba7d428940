"""Learning on the fly against learning from a pool."""
