"""Weight files: reading, converting, loading, describing."""
