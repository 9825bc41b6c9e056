"""Uvicorn's protocols and the listening socket."""
