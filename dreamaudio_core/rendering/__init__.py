"""References put in place, before the network and after it."""
