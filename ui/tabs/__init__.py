"""What one tab has and the others have not."""
