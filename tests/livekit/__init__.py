"""The LiveKit face and the pipeline under it."""
