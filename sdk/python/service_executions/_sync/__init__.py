"""The synchronous half: made of the asynchronous one, but for `runtime.py`."""
