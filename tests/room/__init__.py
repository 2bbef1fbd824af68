"""Speech into a real room."""
