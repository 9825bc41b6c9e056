"""Parts of reads: lists, the state of an execution, the position that an answer has to reach, the access log."""
