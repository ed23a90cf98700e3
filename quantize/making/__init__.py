"""From a source to a form: the parts put together."""
