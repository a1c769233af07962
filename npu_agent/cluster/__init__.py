"""What the cluster is told of the node: labels, annotations and a taint, or features for NFD. Imported where that is on."""
