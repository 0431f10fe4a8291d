"""Text to ids and back: one protocol, several vocabularies."""
