"""Requests into audio: the engine contract and the engines that keep it."""
