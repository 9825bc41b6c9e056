"""Makes the generated files of the Python SDK: its models, and its synchronous half."""
