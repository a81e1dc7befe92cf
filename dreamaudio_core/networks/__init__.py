"""The networks: ours, and those of others that evaluation and retrieval use."""
