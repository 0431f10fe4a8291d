"""The strange mind of a language model, in numbers; a section to a file."""
