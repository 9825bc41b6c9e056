"""Import of IEEE 1849 (XES) event logs."""
