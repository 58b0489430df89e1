"""The NE2000 and its chip, as cards for emulators."""
