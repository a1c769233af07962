"""What the cluster is told of the node."""
