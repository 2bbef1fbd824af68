"""Text before the model: normalising, cutting into segments, ids."""
