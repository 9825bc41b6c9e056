"""Operations for webhooks of executions and of the whole log, and for actions on both."""
