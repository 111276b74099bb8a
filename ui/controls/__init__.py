"""Groups of controls that tabs share; each returns a small dataclass of components."""
