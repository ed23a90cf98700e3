"""The commands of `kangae`, one noun a file."""
