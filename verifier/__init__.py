"""What is true: is this image trusted, as of this moment? Imports nothing of ours and, outside `adapters`, does no IO."""
