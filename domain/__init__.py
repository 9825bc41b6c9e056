"""The write side: what may happen, and the record of what did."""
