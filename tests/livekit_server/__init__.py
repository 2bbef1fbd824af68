"""A real LiveKit server for tests and benchmarks; `server.py` finds, builds and runs it."""
