"""The archive of log lines: files with the lines of past days, how they are written, read and verified."""
