"""CDI: what a container needs of a device, written where container runtimes look for it, and named instead of handed over."""
