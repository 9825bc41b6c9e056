"""The asynchronous half of the SDK. It is written by hand; `scripts/sdk` makes the synchronous half from it."""
