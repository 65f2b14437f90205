"""What makes the package's assets; not part of the wheel."""
