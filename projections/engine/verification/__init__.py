"""Views held against a second building of them."""
