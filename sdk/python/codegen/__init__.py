"""Generates files of the Python SDK: its models, and its synchronous half."""
