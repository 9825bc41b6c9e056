"""Publishes signed heads to witnesses, who store them, so that no operator of this log can deny a head later."""
