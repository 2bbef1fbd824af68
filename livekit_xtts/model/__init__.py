"""XTTS-v2 in plain PyTorch, without threads, LiveKit or a web framework."""
