"""What crosses the door between the page and the engine."""
