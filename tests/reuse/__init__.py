"""Tests of what is kept for reuse: voices and speech."""
