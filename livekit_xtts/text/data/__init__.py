"""Tables per language: what the code around them reads."""
