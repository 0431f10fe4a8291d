"""Tests; a package, as others that are installed are called tests, too."""
