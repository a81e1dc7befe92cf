"""Training of the models; needs the training extra."""
