"""The ladder: from the cheapest way to answer upwards until an answer is sure."""
