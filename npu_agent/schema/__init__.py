"""YAML and plain data into structs, with line and path of every mistake."""
