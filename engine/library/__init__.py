"""Everything on disk: pictures, their recipes, history, the models that are here."""
