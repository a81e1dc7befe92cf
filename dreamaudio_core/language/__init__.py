"""English: captions from labels, prompts from events, events from prompts."""
