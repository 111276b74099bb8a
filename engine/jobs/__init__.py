"""Jobs: journalled before they are accepted, drawn by a host, watched by anyone who owns them."""
