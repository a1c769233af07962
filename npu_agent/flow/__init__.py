"""Values that others follow, and what comes and goes."""
