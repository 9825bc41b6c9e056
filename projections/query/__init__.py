"""The filter language of lists: fields, parser, SQL, matcher, pagination."""
