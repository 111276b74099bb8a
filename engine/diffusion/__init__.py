"""Everything that imports torch. It knows recipes and components; it never knows jobs, files of pictures or the page."""
