"""What is true: is this image trusted, as of this moment? Imports nothing of ours; IO only in `adapters`."""
