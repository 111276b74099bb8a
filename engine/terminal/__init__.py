"""The engine from a terminal: flags to a wish, the wish to jobs, their pictures to files."""
