"""A board game as text: a teacher, imitation of it, and self-play beyond it."""
