"""The pages for people: built from `ui/`, served below `/ui/`."""
