"""Sound banks, captions and the composition of training items."""
