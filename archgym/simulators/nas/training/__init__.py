"""Networks trained here: the digits data, training, scores without training."""
