"""The Transformer: parameters, layers, the forward pass, the cache."""
