"""From the web to clean text: what FineWeb is made by, on datatrove."""
