"""Methods x seeds of one recipe, compared fairly: `skystill benchmark`."""
