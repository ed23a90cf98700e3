"""The project's tests. One folder per package; `fakes` stands in for what is large or slow."""
