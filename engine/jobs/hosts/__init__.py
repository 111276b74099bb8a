"""Where a recipe is drawn: in a process of its own, or in this one."""
