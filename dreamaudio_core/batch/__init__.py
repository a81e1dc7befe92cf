"""Many scenes in one run that can be stopped and taken up again."""
