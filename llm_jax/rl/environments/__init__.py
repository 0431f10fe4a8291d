"""Problems to learn from, each with a reward that can be checked."""
