"""The access log read: by execution, beside what happened, held against its anchors, and proven."""
