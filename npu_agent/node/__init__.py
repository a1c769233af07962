"""The only writer of what there is on this node: backends asked, cards tracked, plans made."""
