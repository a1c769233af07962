"""The language that describes a model line of accelerators, and the descriptions that ship."""
